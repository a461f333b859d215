"""What all models share: batches of like length in an order of their own, and answers in the order of the briefs."""

from housebrain_core.house import codec
from housebrain_core.llm.decoding import Answered, Decoding
from housebrain_core.llm.designer import Designer


class Parrot(Designer):
    """Answers with the number of the brief."""

    name = identity = "parrot"

    def __init__(self) -> None:
        self.batches = []

    def answer_batch(self, prompts, briefs, numbers, decoding):
        assert prompts == [codec.write_prompt(brief) for brief in briefs]
        self.batches.append(prompts)
        return [Answered(str(number), 1, True) for number in numbers]

    def losses(self, examples, drawn=()):
        return None


def test_answers_come_in_the_order_of_the_briefs_and_batches_are_of_like_length(samples):
    parrot = Parrot()
    briefs = [sample["input"] for sample in samples[:7]]
    assert [one.text for one in parrot.answer(briefs, batch_size=3)] == list("0123456")
    lengths = [len(prompt) for batch in parrot.batches for prompt in batch]
    assert [len(batch) for batch in parrot.batches] == [3, 3, 1] and lengths == sorted(lengths)


def test_a_batch_is_left_out_when_all_of_its_answers_are_known(samples):
    briefs = [sample["input"] for sample in samples[:4]]
    whole = Parrot()
    first, second = (batch.indices for batch in whole.answer_batches(briefs, Decoding(batch_size=2)))
    again = Parrot()
    left = [batch.indices for batch in again.answer_batches(briefs, Decoding(batch_size=2), {*first, second[0]})]
    assert left == [second]
