"""The scenes of the demo: each shows one thing that makes following an object hard."""

from __future__ import annotations

from dataclasses import replace

from pipeline.demo.clips import Bulges, Scene, Shape

# Skins of two similar tones, because the mini model takes parts of very different color for two objects.
RED, ORANGE, YELLOW = (
    ((196, 52, 48), (224, 92, 74)),
    ((226, 122, 40), (244, 160, 84)),
    ((236, 192, 60), (248, 218, 120)),
)
GREEN, TEAL, BLUE = ((58, 142, 72), (100, 176, 104)), ((30, 138, 140), (76, 174, 172)), ((44, 92, 186), (92, 134, 216))
PURPLE, PINK, CREAM = (
    ((112, 58, 150), (146, 92, 182)),
    ((226, 112, 156), (242, 156, 188)),
    ((232, 220, 190), (214, 196, 156)),
)

PROMPT_KINDS: dict[str, tuple[str, ...]] = {
    "drifting": ("box",),
    "turning": ("click", "mask"),
    "hiding": ("box",),
    "leaving": ("box and click", "box"),
    "entering": ("box",),
    "crossing": ("box",),
}
"""How the objects of each scene are prompted, in turn."""


def demo_scenes(size_hw: tuple[int, int] = (240, 320), num_frames: int = 24) -> tuple[Scene, ...]:
    """Six clips: drifting, turning and deforming, hiding, leaving and returning, entering late, crossing."""
    scenes = (
        Scene(
            "drifting",
            "two objects drift across the picture",
            (
                Shape(((0.18, 0.30), (0.80, 0.36)), 0.20, RED, "spots"),
                Shape(((0.80, 0.74), (0.22, 0.70)), 0.19, BLUE, "stripes", aspect=1.4, turns=0.2),
            ),
            ((206, 220, 214), (150, 178, 172)),
            seed=1,
        ),
        Scene(
            "turning",
            "two objects turn and change their outlines",
            (
                Shape(((0.30, 0.48), (0.36, 0.54), (0.30, 0.45)), 0.27, ORANGE, "rings", Bulges(5, 0.20), turns=0.5),
                Shape(((0.76, 0.56), (0.72, 0.46), (0.77, 0.52)), 0.21, PURPLE, "checks", Bulges(3, 0.14, pulse=0.8)),
            ),
            ((96, 116, 104), (54, 74, 70)),
            seed=2,
        ),
        Scene(
            "hiding",
            "one object passes behind another",
            (
                Shape(((0.14, 0.52), (0.86, 0.50)), 0.15, TEAL, "spots"),
                Shape(((0.52, 0.50), (0.50, 0.51)), 0.27, CREAM, "plain", aspect=0.55),
            ),
            ((196, 204, 220), (148, 158, 184)),
            seed=3,
        ),
        Scene(
            "leaving",
            "one object leaves and returns",
            (
                Shape(((0.30, 0.30), (1.18, 0.34), (1.18, 0.38), (0.34, 0.36)), 0.19, GREEN, "rings"),
                Shape(((0.62, 0.74), (0.46, 0.72), (0.60, 0.70)), 0.18, PINK, "plain", aspect=1.6, turns=0.5),
            ),
            ((60, 66, 92), (34, 38, 60)),
            seed=4,
        ),
        Scene(
            "entering",
            "one object enters late and is prompted when it does",
            (
                Shape(((0.28, 0.62), (0.36, 0.50), (0.26, 0.42)), 0.22, TEAL, "checks", Bulges(4, 0.1), turns=0.2),
                Shape(
                    ((1.25, 0.40), (1.02, 0.42), (0.74, 0.46), (0.70, 0.60)),
                    0.20,
                    CREAM,
                    "stripes",
                    Bulges(6, 0.06),
                    turns=0.3,
                ),
            ),
            ((120, 84, 72), (72, 50, 48)),
            seed=5,
        ),
        Scene(
            "crossing",
            "three objects meet and part again",
            (
                Shape(((0.18, 0.38), (0.82, 0.36)), 0.18, RED, "checks"),
                Shape(((0.80, 0.62), (0.20, 0.64)), 0.18, YELLOW, "plain", Bulges(6, 0.1), turns=-0.3),
                Shape(((0.50, 0.84), (0.52, 0.16)), 0.13, BLUE, "plain", aspect=0.7),
            ),
            ((178, 186, 180), (128, 140, 138)),
            seed=6,
        ),
    )
    return tuple(replace(scene, size_hw=size_hw, num_frames=num_frames) for scene in scenes)
