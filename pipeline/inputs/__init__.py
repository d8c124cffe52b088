"""What `videos=` and `prompts=` name: tables read as streams, checked, and made into a plan.

Doors: `shards.InputTables`, `plan.make_plan` (driver), `prompts.read_prompts` (worker), `columns` (contract), `write`.
Uses: masks (RLE of prompts), storage, config. It never imports `commits`.
"""
