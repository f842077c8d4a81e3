"""HTML pages as single files that fetch nothing: what a report's page shows (`compose`), and images by score
(`gallery`). The markup is in templates/, where all text is escaped unless this package made it as markup."""
