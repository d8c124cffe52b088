"""The scenes of the demo: each shows one thing that makes following an object hard."""

from __future__ import annotations

from pipeline.drawing import Scene, Shape

RED, ORANGE, YELLOW = (196, 52, 48), (232, 134, 44), (244, 208, 84)
GREEN, TEAL, BLUE = (58, 142, 72), (40, 148, 150), (44, 92, 186)
NAVY, PURPLE, PINK = (28, 44, 96), (126, 68, 158), (232, 132, 168)
WHITE, CREAM, BROWN = (240, 240, 236), (236, 222, 190), (122, 82, 52)


def demo_scenes() -> tuple[Scene, ...]:
    """Five clips: moving, turning and deforming, occluding, leaving and returning, crossing."""
    return (
        Scene(
            "drifting",
            (
                Shape(((0.15, 0.30), (0.80, 0.36)), 0.20, (RED, YELLOW), "spots"),
                Shape(((0.85, 0.74), (0.20, 0.70)), 0.18, (BLUE, WHITE), "stripes", aspect=1.4, turns=0.2),
            ),
            ((206, 220, 214), (150, 178, 172)),
            seed=1,
        ),
        Scene(
            "turning",
            (
                Shape(((0.30, 0.45), (0.40, 0.55), (0.32, 0.42)), 0.26, (ORANGE, CREAM), "rings", 5, 0.22, turns=0.5),
                Shape(((0.74, 0.58), (0.68, 0.46), (0.76, 0.52)), 0.20, (PURPLE, PINK), "checks", 3, 0.14, pulse=1.0),
            ),
            ((96, 116, 104), (54, 74, 70)),
            seed=2,
        ),
        Scene(
            "hiding",
            (
                Shape(((0.12, 0.52), (0.88, 0.50)), 0.15, (YELLOW, ORANGE), "spots"),
                Shape(((0.52, 0.50), (0.50, 0.52)), 0.27, (NAVY, BLUE), "stripes", 4, 0.08, turns=0.1),
            ),
            ((222, 206, 200), (186, 160, 158)),
            seed=3,
        ),
        Scene(
            "leaving",
            (
                Shape(((0.30, 0.30), (1.15, 0.34), (1.15, 0.38), (0.34, 0.36)), 0.18, (GREEN, YELLOW), "rings"),
                Shape(((0.62, 0.76), (0.46, 0.74), (0.60, 0.72)), 0.17, (PINK, RED), "plain", aspect=1.6, turns=0.5),
            ),
            ((60, 66, 92), (34, 38, 60)),
            seed=4,
        ),
        Scene(
            "crossing",
            (
                Shape(((0.14, 0.24), (0.86, 0.78)), 0.17, (TEAL, WHITE), "checks"),
                Shape(((0.86, 0.26), (0.14, 0.76)), 0.17, (BROWN, CREAM), "stripes", 6, 0.1, turns=-0.3),
                Shape(((0.50, 0.90), (0.52, 0.12)), 0.13, (RED, RED), "plain", aspect=0.7),
            ),
            ((190, 200, 220), (140, 152, 184)),
            seed=5,
        ),
    )
