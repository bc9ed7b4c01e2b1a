"""What every room may use: pictures, tables in Markdown, files that are whole or absent, several processes."""
