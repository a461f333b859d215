"""HouseBrain: fine-tune one language model together: split, train a split per person on free notebooks, merge.

What is public is listed here, by the room that it comes from; everything else may move. Nothing is imported before it
is used.
"""

import logging
import os

import lazy_loader

__version__ = "0.2.0"

PUBLIC = {
    "errors": [
        "AdapterError", "CheckpointError", "ConfigError", "DataError", "ExportError", "HouseBrainError", "MachineError",
        "ServerError", "TrainingError",
    ],
    "config": [
        "AuditConfig", "ConvertConfig", "EvaluateConfig", "FineTuningConfig", "GenerateConfig", "InspectConfig",
        "MergeConfig", "PlanConfig", "RoundConfig", "SplitConfig",
    ],
    "project": ["check_inputs", "enter_project", "find_adapters"],
    "outputs": ["check_replaceable"],
    "display": ["Page", "Table", "draw_training", "link", "loss_curves", "show"],
    "house": ["DesignError", "check_brief", "decode", "encode", "floor_plan", "read_prompt", "write_dataset"],
    "data": ["audit_dataset", "choose_fields", "entropy_bars", "length_histogram", "read_samples"],
    "splits": [
        "adapter_in_leg", "estimate_hours", "find_inputs", "find_plan", "read_bundle", "read_split", "read_validation",
        "split_dataset",
    ],
    "adapters": ["convert_adapters", "describe_run", "draw_inspection", "inspect_adapters"],
    "train": ["HouseBrainFineTuner", "tiny_base"],
    "llm": ["HouseBrainLLM", "generate_designs", "read_answer", "strict_json_parse"],
    "merge": ["merge_adapters"],
    "rounds": ["compare_choices", "run_round"],
    "select": ["SelectConfig", "find_lacks", "select_samples"],
    "export": ["ExportConfig", "ask_export", "choose_prompts", "export_model", "merge_into_base"],
    "evaluate": ["draw_first_house", "evaluate_models", "report_path", "show_evaluation"],
    "serve": ["serve_model"],
    "cloud": [
        "DriveCopies", "KaggleConfig", "RunConfig", "bring_back", "check_machine", "choose_inputs", "install_libraries",
        "interrupt_at_checkpoint", "mount_drive", "run_kaggle", "run_splits", "use_token", "what_next", "zip_adapter",
    ],
    "parameters": [
        "ColabTrainSettings", "DeploySettings", "EvaluateSettings", "KaggleTrainSettings", "LocalTrainSettings",
        "MergeSettings", "NextRoundSettings", "SplitSettings", "check_settings",
    ],
}  # fmt: skip

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=PUBLIC)

for variable in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_SAFETENSORS_CONVERSION"):
    os.environ.setdefault(variable, "1")  # nothing is sent to the Hub but what is asked of it
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # while imported it suggests a kernel package nobody needs
