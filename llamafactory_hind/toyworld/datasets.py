"""What each written file is, as entries of ``dataset_info.json``: paths relative to the world's directory."""

SHAREGPT = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "images": "images"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}


def _rows(name: str) -> dict:
    return {"file_name": f"rows/{name}.json"}


def dataset_info() -> dict[str, dict]:
    """Every dataset of the world, keyed by the name that ``dataset:`` takes."""
    info = {name: _rows(name) | SHAREGPT for name in ("base_see", "base_know", "see_test", "read_test")}
    for split in ("train", "test"):
        for target in ("knowledge", "cot", "answer", "multitask"):
            name = f"hindsight_{split}" if target == "knowledge" else f"hindsight_{target}_{split}"
            info[name] = _rows(f"hindsight_{split}") | {"formatting": "hindsight", "target": target}
    info["video_reasoning"] = _rows("video_reasoning") | {"formatting": "video_reasoning"}
    info["regions"] = _rows("regions") | {"formatting": "region"}
    info["counting"] = _rows("counting") | {"formatting": "rollout"}
    info["transformation"] = _rows("transformation") | {"formatting": "rollout"}
    for name in ("styles_train", "styles_test", "color_train", "color_test", "video_counting"):
        info[name] = _rows(name) | {"formatting": "rollout"}
    for name in ("region_train", "region_test"):
        info[name] = _rows(name) | {"formatting": "region"}
        # on these pictures a plate with a number would hide a thing
        drawn = {"region_style": "marks", "region_marks": "boxes", "region_shuffle": name == "region_train"}
        info[name.replace("region", "region_marks")] = info[name] | drawn
    # the same prompts for `stage: sft`, which learns the column `answer`: here with its thought
    info["styles_worked"] = _rows("styles_train") | {"formatting": "rollout", "columns": {"answer": "worked"}}
    for name in ("student_rows", "teacher_rows", "color_start"):
        info[name] = _rows(name) | SHAREGPT
    return info
