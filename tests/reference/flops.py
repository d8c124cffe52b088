"""The operations of a tracked frame on paper, from the shapes of the network; a multiplication and an addition are two.

Whatever computes the same network exactly does about as many, so they bound its speed on a machine.
"""

from __future__ import annotations

from model.network.config import Sam2Config

NUM_MEMORIES, NUM_POINTERS = 7, 16


def frame_flops(config: Sam2Config) -> float:
    """Of a frame, once for all objects: trunk, pyramid and the memory attention's first look at the frame."""
    trunk = config.hiera
    side = config.image_size // 4
    flops = 2.0 * side**2 * trunk.embed_dims[0] * 3 * 49
    dim = trunk.embed_dims[0]
    block = 0
    for stage, count in enumerate(trunk.blocks_per_stage):
        out = trunk.embed_dims[stage]
        for index in range(count):
            pools = stage > 0 and index == 0
            window = trunk.window_sizes[stage - pools]
            if block in trunk.global_attention_blocks:
                tokens, keys = side**2, side**2
            else:
                padded = -(-side // window) * window
                tokens, keys = padded**2, window**2
            queries = tokens // 4 if pools else tokens
            flops += 2 * tokens * dim * 3 * out + 2 * 2 * queries * keys * out + 2 * queries * out * out
            if pools:
                flops += 2 * side**2 * dim * out
                side //= 2
            flops += 2 * side**2 * out * 4 * out * 2
            dim = out
            block += 1
    hidden, length = config.hidden_dim, config.grid_size**2
    flops += 2 * length * (trunk.embed_dims[2] + trunk.embed_dims[3] / 4) * hidden  # pyramid
    flops += 2 * length * (4 * trunk.embed_dims[1] * hidden / 4 + 16 * trunk.embed_dims[0] * hidden / 8)  # finer maps
    return flops + _self_attention_flops(config)


def object_flops(config: Sam2Config, narrow_values: bool) -> float:
    """Of each object: memory attention over a full memory; decoder and memory encoder by their large layers.

    In the memory attention the projections of values and of the output are one, as its attentions have one head.
    `narrow_values`: memories are attended to before they are widened, as on a CPU.
    """
    length, dim, layers = config.grid_size**2, config.hidden_dim, config.memory.attention_layers
    keys = NUM_MEMORIES * length + NUM_POINTERS * dim // config.memory_dim
    value_dim, widened = (config.memory_dim, length) if narrow_values else (dim, keys)
    cross = 2.0 * length * dim * dim + 2 * length * keys * (dim + value_dim)
    cross += 2 * (keys + widened) * config.memory_dim * dim
    mlp = 2.0 * 2 * length * dim * config.memory.attention_mlp_dim
    attention = layers * (cross + mlp) + (layers - 1) * _self_attention_flops(config)
    decoder = (
        7 * 2.0 * length * dim * dim / 2 + 2 * 2.0 * length * dim * dim + 2 * 2.0 * 4 * length * (dim / 4) * dim / 2
    )
    size = config.image_size
    encoder = sum(2.0 * (size // 2**k) ** 2 * 4 ** (k - 1) * 4**k * 9 for k in range(1, 5))
    encoder += (
        2.0 * length * (2 * dim * dim + 2 * (2 * dim * config.memory.fuser_dim + 49 * dim) + dim * config.memory_dim)
    )
    return attention + decoder + encoder


def _self_attention_flops(config: Sam2Config) -> float:
    length, dim = config.grid_size**2, config.hidden_dim
    return 2.0 * length * dim * (3 * dim + 2 * length)
