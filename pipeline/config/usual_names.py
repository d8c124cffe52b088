"""Keys that other programs have and a run lacks: what is said of each, because no spelling leads to what was meant.

A name with `_dir`, `_path` or the like at its end is one without.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "did you mean output?": "out to save_dir results result_dir destination demo_dir",
    "did you mean videos?": "video input inputs data dataset src path clips frames_dir images image",
    "did you mean prompts, a table? python -m pipeline.prompts makes one of labels in other formats": (
        "points clicks boxes bboxes masks labels annotations annotation mask"
    ),
    "SAM 2 takes no text: prompts= has clicks, boxes or masks": "text text_prompt text_prompts classes",
    "did you mean cluster.actors?": (
        "workers num_workers n_workers num_actors n_jobs jobs processes num_processes cluster.workers "
        "cluster.num_workers cluster.num_actors"
    ),
    "did you mean cluster.gpus_per_actor, the GPUs of a worker, or cluster.actors, the number of workers?": (
        "gpu gpus num_gpus n_gpus gpus_per_worker cluster.gpus cluster.num_gpus"
    ),
    "did you mean cluster.cpus_per_actor?": "cpus num_cpus n_cpus cpus_per_worker cluster.cpus cluster.num_cpus",
    "did you mean cluster.cpus_per_actor, on which a worker computes, or decode.threads?": (
        "threads num_threads n_threads"
    ),
    "maskmill chooses batches; did you mean worker.videos_in_flight, the videos that a worker labels at a time?": (
        "batch batch_size"
    ),
    "did you mean model, as in model=tiny?": (
        "model_name model_size model_type model_id model.size model.type size arch variant"
    ),
    "did you mean model.checkpoint?": ("checkpoint ckpt weights model_path sam2_checkpoint model.weights model.path"),
    "did you mean model.dtype, as in model.dtype=bfloat16?": "precision bf16 fp16 half amp model.precision",
    "did you mean model.device, as in model.device=cuda?": "cuda cpu mps use_gpu use_cuda",
    "did you mean cluster, as in cluster=local, existing or serial?": "backend executor ray local serial",
    "did you mean conf, as in conf=path/to/job.yaml?": "config job_file",
    "did you mean conf=nightly? docs/nightly.md has the rest": "schedule cron nightly",
    "the same command goes on where it stopped; relabel=true labels everything again": "resume restart continue",
    "did you mean relabel, which labels everything again?": "overwrite force force_relabel",
    "did you mean check, which labels nothing?": "dry_run dryrun",
    "did you mean retry (which bad videos are tried again) or max_attempts (how often)?": (
        "retries num_retries max_retries"
    ),
    "name fewer videos, as in videos='clips/a*.mp4'; stop_after= bounds the time of a run": (
        "limit max_videos num_videos"
    ),
    "frames.stride and frames.fps label fewer frames, start_seconds and end_seconds of the table of videos a part; "
    "conf=demo draws demo.num_frames": "max_frames num_frames",
    "masks have the size of their video, and the weights say at which size the model sees it; conf=demo draws "
    "demo.height and demo.width": "height width resize img_size imgsz image_size input_size",
    "the table of videos has columns start_seconds and end_seconds": "start start_time end end_time",
    "did you mean frames.stride?": "frame_stride frame_step every_n_frames vid_stride skip step",
    "did you mean frames.fps?": "frame_rate sample_fps target_fps",
    "a run keeps all masks, with their scores; conf=discover has discover.min_predicted_iou and, for detections=, "
    "discover.min_score; pipeline.prompts takes min_score= for labels of other formats": (
        "min_score score_threshold iou_threshold threshold conf_threshold confidence"
    ),
    "nothing in a run is drawn by lot, so that there is no seed": "seed random_seed",
    "did you mean stop_after, which ends a run, or worker.hang_seconds?": "timeout time_limit max_time",
    "python -m pipeline.export writes the masks of a job in other formats": "format export_format",
    "python -m pipeline.review has it, which shows the tracks of a job to people": "reviewer host port token",
    "did you mean log_file, which gets the log as JSON lines?": "verbose debug log log_level logfile",
    "weights lie in the cache of the Hub (HF_HOME), and scratch files in worker.spool_dir": "cache_dir",
    "did you mean worker.spool_dir?": "tmp_dir temp_dir scratch_dir work_dir",
    "did you mean storage_options, as in storage_options.key=…?": (
        "key secret access_key secret_key aws_access_key_id s3_key endpoint_url endpoint"
    ),
}

MEANT: Mapping[str, str] = {name: told for told, names in _NAMES.items() for name in names.split()}
"""By a key that nobody knows, or a group that was given a value: what is said of it."""
