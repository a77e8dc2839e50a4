"""The query language: lexer, parser, plan and steps."""
