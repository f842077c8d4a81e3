"""What `bench report --table NAME` makes of a group of runs: `auroc` Tables 1, 2 and one-class, `scores`, `detectors`
(oe). `cells`: what a table is made of; `tied`: which are bold; `notes`, `about`: what stands below; `text`.
"""
