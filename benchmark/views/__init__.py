"""Views of images: what is drawn, how it is rendered, and what is done to negatives."""
