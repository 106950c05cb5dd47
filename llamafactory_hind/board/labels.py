"""Labels and help of the fields, in the languages that the host demands."""

import re

from .chinese_help import HELP
from .fields import Field, board_fields
from .tabs import labels as tab_labels


STAGES_BEFORE = re.compile(
    r"^(?:Online stages (?=with )|(?:Online stages|HinD formats|[a-z_]+(?: \(HinD\))?(?:, [a-z_]+)*): )"
)
SOURCE = re.compile(r" \[(?:ours|2nd|C|C code)\](?=\.|;|$)")
LANGUAGES = ("en", "ru", "zh", "ko", "ja")  # the host raises KeyError where one is missing
TITLES = {  # element -> English, Chinese
    "hind_tab": ("Method settings", "方法设置"),
    "hind_advanced_tab": ("Advanced", "高级"),
    "hind_preset": ("Preset", "预设"),
}
BUTTONS = {
    "hind_check_btn": ("Check", "检查"),
    "hind_reset_btn": ("Reset", "恢复默认"),
    "hind_end_btn": ("Jump to the end of the log", "跳到日志末尾"),
}
NOTICES = {  # element -> its text; the notice is there where the Board listens to more than this machine
    "hind_open": (
        "Everybody who reaches this machine can use this Board without a password, and run code here. "
        "GRADIO_SERVER_NAME=127.0.0.1 opens it to this machine alone.",
        "任何能访问本机的人都可以无密码使用此 Board 并在本机运行代码。设置 GRADIO_SERVER_NAME=127.0.0.1 后仅本机可访问。",
    ),
}
PRESET_HELP = (
    "A configuration that comes with the package; it fills the form but not the model at the top.",
    "随包附带的配置，会填写表单，但不改动上方的模型。",
)
GROUP_TITLES = {
    "rewards": ("Rewards", "奖励"),
    "rollouts": ("Rollouts and policy loss", "采样与策略损失"),
    "teacher": ("Teacher and gate", "教师与门控"),
    "hints": ("Hints", "提示"),
    "external": ("External actions", "外部动作"),
    "pairs": ("Preference (KEPO, HinD)", "偏好优化（KEPO，HinD）"),
    "texts": ("Reasoning and scores", "推理与评分"),
    "data": ("Data and run", "数据与运行"),
}
CHANGED = ("{count} changed", "已改动 {count} 项")
NAMES = {  # key -> English, Chinese; a key without an entry is its own name
    "reward_funcs": ("Rewards", "奖励函数"),
    "reward_weights": ("Weights", "奖励权重"),
    "reward_timeout": ("Seconds a call", "奖励超时（秒）"),
    "num_generations": ("Completions a prompt", "每题回答数"),
    "max_new_tokens": ("Length of a completion", "回答长度上限"),
    "rollout_temperature": ("Sampling temperature", "采样温度"),
    "rollout_top_p": ("Top-p", "核采样"),
    "rollout_top_k": ("Top-k", "前 k 个"),
    "rollout_engine": ("Written by", "采样引擎"),
    "rollout_server": ("vLLM servers", "vLLM 服务地址"),
    "rollout_api_key_env": ("Variable of the API key", "密钥环境变量"),
    "rollout_sync": ("Sent to the server", "权重同步方式"),
    "rollout_sync_every": ("Steps between two syncs", "同步间隔步数"),
    "rollout_sync_dir": ("Folder of weights", "权重共享目录"),
    "rollout_correction": ("Correct the server's samples", "采样偏差修正"),
    "rollout_correction_cap": ("Largest correction", "修正上限"),
    "rollout_ahead": ("Steps written ahead", "提前采样步数"),
    "rollout_timeout": ("Seconds a request", "请求超时（秒）"),
    "rollout_max_retries": ("Retries of a request", "请求重试次数"),
    "kl_beta": ("KL weight", "KL 权重"),
    "clip_low": ("Clip below", "裁剪下界"),
    "clip_high": ("Clip above", "裁剪上界"),
    "num_iterations": ("Steps on the same completions", "同批更新次数"),
    "advantage_scale": ("Advantage scale", "优势缩放"),
    "loss_reduction": ("Loss mean over", "损失归约"),
    "loss_micro_batch": ("Completions a loss pass", "损失微批大小"),
    "rollout_tokens": ("Tokens in flight", "同时生成的 token 上限"),
    "policy_loss": ("Policy loss", "策略损失"),
    "ratio_level": ("Ratio of", "比率粒度"),
    "reward_normalization": ("Rewards are compared", "奖励归一化"),
    "mask_truncated": ("Cut completions do not teach", "屏蔽被截断的回答"),
    "overlong_buffer": ("Tokens of the length penalty", "超长惩罚缓冲"),
    "overlong_penalty": ("Largest length penalty", "超长惩罚上限"),
    "group_reward_range": ("Mean rewards that teach", "组平均奖励范围"),
    "dynamic_sampling": ("Dynamic sampling", "动态采样"),
    "max_resample_times": ("Prompts tried in one place", "重采样次数上限"),
    "entropy_coef": ("Entropy bonus", "熵奖励系数"),
    "teacher_pass": ("Teacher reads at once", "教师一次读取"),
    "teacher_states": ("Precision of kept states", "教师状态精度"),
    "entropy_target": ("Entropy to hold", "目标熵"),
    "entropy_target_step": ("Step of the bonus", "熵系数步长"),
    "kl_in_reward": ("KL in the reward", "KL 计入奖励"),
    "reward_weights_end": ("Weights at the end", "最终奖励权重"),
    "reward_weights_span": ("Share until the end weights", "权重过渡比例"),
    "curriculum_column": ("Curriculum column", "课程学习列"),
    "share_prefix": ("Share prompts", "共享前缀"),
    "skip_bad_rows": ("Skip bad rows", "跳过坏样本"),
    "kepo_beta": ("Hold to the reference", "KEPO β 系数"),
    "kepo_loss": ("Pair loss", "成对损失"),
    "kepo_gap_weight": ("Weigh by confidence gap", "按置信差加权"),
    "kepo_nll_weight": ("NLL weight", "NLL 权重"),
    "ref_logps_cache": ("Reference cache file", "参考概率缓存"),
    "external_ratio": ("Ratio of external actions", "外部比率"),
    "external_gamma": ("Gamma", "伽马系数"),
    "external_selection": ("How a group is made up", "组的选取方式"),
    "external_tie_break": ("First at a tie", "平局优先"),
    "external_max_per_group": ("External actions a group", "每组外部动作上限"),
    "external_teacher": ("Model that is asked", "外部教师"),
    "external_samples": ("Actions a row", "每行动作数"),
    "external_temperature": ("Temperature of actions", "动作采样温度"),
    "teacher": ("Teacher", "教师模型"),
    "gate_threshold": ("Gate opens at", "门控阈值"),
    "gate_reward": ("Reward of the gate", "门控奖励"),
    "distill_weight": ("Distillation weight", "蒸馏权重"),
    "distill_beta": ("Mixture", "蒸馏 β 系数"),
    "distill_temperature": ("Distillation temperature", "蒸馏温度"),
    "rl_weight": ("Policy loss weight", "策略损失权重"),
    "step_weighting": ("Weigh steps", "按步加权"),
    "hint_samples": ("Hinted completions", "提示回答数"),
    "hint_max_attempts": ("Attempts", "尝试次数"),
    "hint_trigger": ("Explore when", "触发条件"),
    "hint_variant": ("What is shown", "提示内容"),
    "hint_language": ("Language of prompts", "提示语言"),
    "hint_tags": ("Hint tags", "提示标签"),
    "hint_prompt": ("Prompt file of the teacher", "教师提示词模板"),
    "hinted_prompt": ("Prompt file of the student", "学生提示词模板"),
    "hint_max_new_tokens": ("Length of a hint", "提示长度"),
    "hint_temperature": ("Temperature of hints", "提示采样温度"),
    "temporal_weight": ("Bonus of the order of frames", "时序奖励权重"),
    "temporal_ratio": ("Share of the shuffled reward", "时序奖励比例"),
    "temporal_generations": ("Completions with shuffled frames", "乱序帧回答数"),
    "critic_qa_weight": ("Weight of the answer score", "答案评分权重"),
    "critic_rationale_weight": ("Weight of the rationale score", "理由评分权重"),
    "itc_weight": ("Weight of the contrast (ITC)", "对比损失权重 (ITC)"),
    "itm_weight": ("Weight of the match (ITM)", "匹配损失权重 (ITM)"),
    "lm_weight": ("Weight of the answer (LM)", "语言模型损失权重 (LM)"),
    "itc_temperature": ("Temperature of the contrast", "对比温度"),
    "label_smoothing": ("Label smoothing of the contrast", "对比标签平滑"),
    "critic_pooling": ("State that is scored", "评分所用状态"),
    "control_tokens": ("Control tokens in texts", "文本中的控制符"),
    "media_as_host": ("Media as the host sees them", "按宿主方式读取媒体"),
    "reason_weight": ("Weight of reasoning", "推理损失权重"),
    "evaluate_answers": ("Evaluate written answers", "评估生成的答案"),
    "media_dir": ("Media folder", "媒体文件夹"),
    "eval_dataset": ("Evaluation datasets", "评估数据集"),
    "max_steps": ("Steps", "最大步数"),
    "ref_model": ("Reference model", "参考模型"),
    "video_fps": ("Frames a second", "视频帧率"),
    "video_maxlen": ("Frames at most", "视频帧数上限"),
    "save_total_limit": ("Checkpoints kept", "保留检查点数"),
    "seed": ("Seed", "随机种子"),
}


def label(field: Field, language: str) -> str:
    """Return the name and the key: what is in YAML and in the docs must be findable."""
    name = NAMES.get(field.key)
    return f"{name[language == 'zh']} · {field.key}" if name else field.key


def advanced_title(count: int, language: str) -> str:
    """Return the title of the folded half, with how many of its fields were changed."""
    place = int(language == "zh")
    title = TITLES["hind_advanced_tab"][place]
    return f"{title} · {CHANGED[place].format(count=count)}" if count else title


def group_name(group: str, basic: bool) -> str:
    """Return the name of a group's heading among the host's elements."""
    return f"hind_group_{group}_{'basic' if basic else 'more'}"


def box_name(group: str, basic: bool) -> str:
    """Return the name of the part of the page that a group's heading and fields are in."""
    return f"hind_box_{group}_{'basic' if basic else 'more'}"


def group_heading(group: str, language: str) -> str:
    """Return a group's heading as HTML."""
    return f"<b>{GROUP_TITLES[group][language == 'zh']}</b>"


def help_of(field: Field, language: str) -> str:
    """Return the help without the stages that it begins with and the source that it ends with.

    It is escaped: the page reads it as Markdown, which would swallow a `<hint>`.
    """
    if language == "zh" and field.key in HELP:
        return HELP[field.key]
    text = SOURCE.sub("", STAGES_BEFORE.sub("", field.help))
    text = text[:1].upper() + text[1:]
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def locales() -> dict[str, dict[str, dict[str, str]]]:
    """Return our entries of the host's `LOCALES`."""
    found = {
        field.name: {
            language: {"label": label(field, language), "info": help_of(field, language)} for language in LANGUAGES
        }
        for field in board_fields()
    }
    for attribute, words in (("label", TITLES), ("value", {**BUTTONS, **NOTICES})):
        for name, (english, chinese) in words.items():
            found[name] = {language: {attribute: chinese if language == "zh" else english} for language in LANGUAGES}
    for language in LANGUAGES:
        found["hind_preset"][language]["info"] = PRESET_HELP[language == "zh"]
    for group in GROUP_TITLES:
        for basic in (True, False):
            words = {language: {"value": group_heading(group, language)} for language in LANGUAGES}
            found[group_name(group, basic)] = words
    for name, entries in tab_labels().items():
        found[name] = {
            language: {attribute: two[language == "zh"] for attribute, two in entries.items()}
            for language in LANGUAGES
        }
    return found
