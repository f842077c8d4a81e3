"""Settings and identity: a sweep file becomes runs. Nothing here reads results or images, or starts anything."""
