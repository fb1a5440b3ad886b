"""Rows on the processor: `models` beside other libraries, log-mel `features`, `process`, `recordings`, `kept` memory."""
