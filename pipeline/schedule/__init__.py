"""What happens around a run: steps after it, the end document, the comparison with the week before, who is told.

Door: `schedule.run`. `end_document` gathers how a run ended, `after` takes the steps that follow, `usual` says whether
a night is worse than those before, `doubtful` counts doubtful tracks, `notify` tells a person's program.
Each step is a command in a process of its own, so that its memory, its Ray and its end are not those of the run.
Uses: driver, commits, quality and the floors below. Imported by `run` alone.
"""
