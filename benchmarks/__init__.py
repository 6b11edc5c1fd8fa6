"""Figures for the goals: each module measures one thing and prints it."""
