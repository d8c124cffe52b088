"""The tables that `videos=` and `prompts=` name: read as streams, checked, and made into a plan.

Doors: `input_tables.InputTables` and `plan.make_plan` (driver), `prompts.read_prompts` and `table_readers.TableReaders`
(worker), `columns` (the contract of both tables), `write` (their one writer).
`video_files` finds videos without a table, `naming` columns that are called otherwise, `boxes` has the forms of boxes.
Uses: storage, masks (RLE of prompts), video (bytes in a row), records, and the prompts of model.
Imported by driver, worker and demo. It never imports `commits`.
"""
