"""`bench recommend`: variants ranked without OOD images (`ranking`), what records say of that rule (`trial`) and of
other rules (`rules`), all of it put together (`recommend`) and said (`wording`)."""
