"""The laws of forgetting: formulas, fitting, comparison. numpy and scipy only."""
