"""Every figure once: what it shows (`paper`: Figures 2 and 3; `variants`, `one_class`, `training`), how a panel is
drawn (`panels`), and where it goes: into files (`files`) or into the page (`embed`)."""
