"""What importers share: entries of released files as rows, and the media they name. Imports no importer."""
