"""The main job: configuration, commands, run directories, reports."""
