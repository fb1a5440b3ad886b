"""What a run comes to: its result in a sentence, its numbers, and what to know before trusting them."""

from ..features import hop_seconds
from ..text import counted, duration
from .builder import tiles
from .html import Html, number, percent, size


def shows(measure: str, value: float | None) -> str:
    """A measure as it is written: accuracy in per cent, others with three decimals."""
    return percent(value) if measure == "accuracy" else number(value)


def titled(measure: str) -> str:
    """A measure at the beginning of a sentence."""
    return "Accuracy" if measure == "accuracy" else measure


def headline(record: dict) -> str:
    """The result in a sentence."""
    result = record["result"]
    measure = result["measure"]
    value = shows(measure, result["values"][measure])
    what = f"{value} of the clips are right" if measure == "accuracy" else f"{measure} {value}"
    pair = result["intervals"].get(measure)
    between = f" (95 % interval {shows(measure, pair[0])} to {shows(measure, pair[1])})" if pair else ""
    of = f" of {counted(result['groups'], 'group')}" if result["groups"] else ""
    return f"On {counted(result['clips'], result['split'] + ' clip')}{of}: {what}{between}, {_when(record)}."


def _when(record):
    result, epochs = record["result"], len(record["history"])
    if result["epoch"] is None:
        return "without training"
    if result["averaged"]:
        return "with weights averaged over epochs {} to {}".format(*result["averaged"])
    if result["chosen"]:
        very = "these very clips" if result["split"] == "validation" else "the validation clips"
        return f"after epoch {result['epoch']} of {epochs}, chosen by {very}"
    return f"after the last of {counted(epochs, 'epoch')}"


def remarks(record: dict) -> list[str]:
    """What a reader must know before trusting the numbers."""
    result, found = record["result"], list(record["result"]["remarks"])
    if result["chosen"] and result["split"] == "validation":
        found.append("The epoch was chosen on the clips that are quoted: expect less on others.")
    if result["values"].get("accuracy") == 1:
        more = percent(min(1, 3 / result["clips"]))
        found.append(
            f"No clip is wrong, so the interval has no width. Of other clips up to {more} may be: rule of three."
        )
    if record["calibration"]["after"] and any(row["threshold"] is not None for row in record["classes"]):
        found.append(
            "Thresholds are for calibrated probabilities; all others on this page are as the model gives them."
        )
    if longer := record["data"]["longer"]:
        seconds = record["features"]["frames"] * hop_seconds(record["features"]["rate"])
        of, (verb, whose) = counted(result["clips"], "clip"), ("is", "its") if longer == 1 else ("are", "their")
        found.append(
            f"{longer} of {of} {verb} longer than the model's input of {seconds:.1f} s: {whose} scores are means over "
            "segments."
        )
    return found


def numbers(record: dict) -> Html:
    """The measures, the calibration error and the cost, as tiles."""
    result, cost = record["result"], record["cost"]
    values = result["values"]
    names = [result["measure"], *(name for name in ("mAP", "AUC") if name in values and name != result["measure"])]
    found = []
    for name in names:
        pair = result["intervals"].get(name)
        between = f"{shows(name, pair[0])} to {shows(name, pair[1])}" if pair else ""
        found.append((name, shows(name, values[name]), between))
    found_calibration = record["calibration"]
    after = found_calibration["after"]
    calibrated = f"{percent(after['ece'])} calibrated" if after else "ECE"
    found.append(("calibration error", percent(found_calibration["before"]["ece"]), calibrated))
    if cost["seconds"] is not None:
        found.append(("training time", duration(cost["seconds"]), f"{size(cost['memory_bytes'])} of memory"))
    return tiles(*found)
