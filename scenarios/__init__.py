"""Scenario definitions (YAML) and the sources that turn real text into documents."""

SOURCES: dict[str, str] = {
    "files": "scenarios.files:Files",
    "examples": "scenarios.examples:Examples",
    "reasoning_gym": "scenarios.instructions:ReasoningGym",
    "german_nouns": "scenarios.instructions:GermanNouns",
    "home_intents": "scenarios.instructions:HomeIntents",
    "function_calls": "scenarios.instructions:FunctionCalls",
    "preferences": "scenarios.preferences:Preferences",
    "findings": "scenarios.findings:Findings",
    "trace": "scenarios.benchmarks:Trace",
    "cl_benchmark": "scenarios.benchmarks:CLBenchmark",
    "coin": "scenarios.benchmarks:Coin",
    "clinc": "scenarios.benchmarks:Clinc",
    "hub": "scenarios.hub:Hub",
    "packaged": "scenarios.packaged:Packaged",
}
"""Names that a scenario may write as `source: NAME`; any other class is written "package.module:Class"."""
