"""Figures that take more than a few lines, one module a notebook: functions of arrays that its cells computed."""
