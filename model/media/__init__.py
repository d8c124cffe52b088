"""Files to frames: one set of readers for the job and for the documented calls (`load_video`, `init_video_session`).

It knows files and bytes (`sources.Media`), never storage: whoever opens a URI hands over file objects. Door:
`readers.open_reader`, which gives a `raw_frames.Reader`; `file_names` says which files of a folder are frames. A new
file format is added in `formats`, a kind of pictures in `signatures`. Below it: `pixels`. It never imports `network`,
`tracking`, `weights` or `hf`.
"""
