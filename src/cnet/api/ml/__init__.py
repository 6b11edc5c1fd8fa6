"""Models as the first document has them: trained by a run, served when they are asked."""
