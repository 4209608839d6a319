"""Scenario definitions (YAML), and the sources that read documents."""

SOURCES: dict[str, str] = {
    "files": "scenarios.sources.files:Files",
    "examples": "scenarios.sources.examples:Examples",
    "dialogues": "scenarios.sources.dialogues:Dialogues",
    "reasoning_gym": "scenarios.sources.instructions:ReasoningGym",
    "german_nouns": "scenarios.sources.instructions:GermanNouns",
    "home_intents": "scenarios.sources.instructions:HomeIntents",
    "function_calls": "scenarios.sources.instructions:FunctionCalls",
    "preferences": "scenarios.sources.preferences:Preferences",
    "findings": "scenarios.sources.findings:Findings",
    "definitions": "scenarios.sources.definitions:Definitions",
    "question_sets": "scenarios.sources.question_sets:QuestionSets",
    "stimuli": "scenarios.sources.stimuli:Stimuli",
    "trace": "scenarios.sources.benchmarks:Trace",
    "cl_benchmark": "scenarios.sources.benchmarks:CLBenchmark",
    "coin": "scenarios.sources.benchmarks:Coin",
    "clinc": "scenarios.sources.benchmarks:Clinc",
    "hub": "scenarios.sources.hub:Hub",
    "packaged": "scenarios.sources.packaged:Packaged",
}
"""Name in a scenario (`source: NAME`) -> "module:Class"; other classes are named "package.module:Class"."""
