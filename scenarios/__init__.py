"""Scenario definitions (YAML) and the sources that turn real text into documents."""

SOURCES: dict[str, str] = {
    "files": "scenarios.files:Files",
    "examples": "scenarios.examples:Examples",
    "hub": "scenarios.hub:Hub",
    "packaged": "scenarios.packaged:Packaged",
}
"""Names that a scenario may write as `source: NAME`; any other class is written "package.module:Class"."""
