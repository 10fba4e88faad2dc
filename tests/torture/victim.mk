# The way in which people call a recipe: a shell, make, inv.
.PHONY: victim
victim:
	@$(INV) --search-root $(HERE) --collection victim $(RECIPE) --to '$(TO)' $(OPTIONS)
