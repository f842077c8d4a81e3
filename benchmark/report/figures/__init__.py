"""Every figure once: what it shows (`of_sets`, `of_classes`, `training`), how a panel is drawn (`panels`), and where it
goes: into files (`files`) or into the page (`embed`)."""
