"""Chinese help of the fields of the Train tab, by key; the English help is that of the dataclasses in `config`."""

HELP = {
    "reward_funcs": "奖励函数，每项为已注册的名称、`包.模块:函数` 或 `路径/文件.py:函数`。",
    "reward_weights": "`reward_funcs` 中每项的权重；默认均为 1。",
    "num_generations": "每道题的回答数（一组），至少 2；默认 8，与 Reason-RFT 相同。",
    "max_new_tokens": "回答在此长度处被截断；留空为 1024。",
    "rollout_temperature": "生成和计算回答概率时的温度，大于 0；默认 0.9，与 Reason-RFT 相同。",
    "kl_beta": "与参考模型（加载时的模型）之间 KL 散度的权重；0 表示不加载参考模型。",
    "teacher": (
        "模型文件夹或名称、`base`（关闭适配器的学生模型），或描述一个或多个教师（本地或 `api`）的 YAML 文件；"
        "null 表示不蒸馏，只使用样本中的提示。"
    ),
    "gate_reward": "打开门控并判断对错的奖励：`reward_funcs` 中某项的短名称，或 `total`（加权和，即官方代码的规则）。",
    "gate_threshold": "蒸馏 `gate_reward` 不低于此值的回答；-.inf 表示全部蒸馏。",
    "hint_samples": "K，每道题最多生成的带提示回答数；0 表示关闭探索。",
    "external_selection": (
        "组由哪些候选构成：奖励最高的 `num_generations` 个（Vision-EKIPL）；策略的回答和全部外部动作；"
        "或用外部动作替换策略最差的回答。"
    ),
    "external_teacher": "训练中撰写动作的另一个模型：模型文件夹或名称、`base`，或同 `teacher` 的 YAML 文件；null 表示只用样本自带的动作。",
    "kepo_beta": "损失让策略贴近参考模型的强度，大于 0。",
    "kepo_loss": "成对损失；`length_normalized` 将每个对数比除以其词元数。",
    "reason_weight": (
        "推理损失的权重，不小于 0；每个任务在整个优化步的自身词元上取平均。0 等同于宿主在答案上的 `sft`。"
        "形式来自第三方描述，为默认设置。"
    ),
    "evaluate_answers": "每次评估时为每个样本生成答案（最长 `max_new_tokens`），并记录正确的比例。",
    "media_dir": "图片、视频和音频所在的文件夹；留空为数据集文件夹。",
    "eval_dataset": "用于评估的数据集；留空则不评估。",
    "max_steps": "优化步数；留空则按上方的训练轮数。",
    "skip_bad_rows": "跳过坏样本，计数并列入文件；否则坏样本会终止运行，并指出文件、行和字段。",
    "critic_qa_weight": "答案评分平方误差的权重。",
    "critic_rationale_weight": "理由评分平方误差的权重。",
    "critic_pooling": "评分头所见的隐藏状态：最后一个词元（`last`）或全部的平均（`mean`）。",
    "external_tie_break": "奖励相同时哪些候选在前。",
    "external_max_per_group": "每组最多的外部动作数；null 不限制，0 即普通 GRPO。",
    "external_samples": "`external_teacher` 为每个样本撰写的动作数，只写一次。",
    "external_temperature": "`external_teacher` 的采样温度；0 为贪心。",
    "distill_weight": "蒸馏损失的权重，不小于 0。",
    "distill_beta": "广义 Jensen-Shannon 散度的 β，0 到 1：0 为 KL(教师||学生)，1 为 KL(学生||教师)。",
    "distill_temperature": "两个分布的温度，大于 0。",
    "teacher_pass": "教师一次读取一个微批的回答，或一次读取整步的回答；后者每步只移动一次卸载的教师权重，其隐藏状态保留到该步学完。",
    "teacher_states": "`teacher_pass: step` 所保留的隐藏状态的精度。",
    "rl_weight": "策略损失的权重；0 即只做门控的在线蒸馏。",
    "step_weighting": "按策略与教师在回答每一行的接近程度为蒸馏加权（SOD，arXiv 2605.07725）。",
    "hint_max_attempts": "为得到 K 个正确的带提示回答而尝试的次数，至少 1。",
    "hint_trigger": (
        "为哪些题目探索：所有回答都错的题目、全部题目，或没有任何回答得到奖励的题目（官方规则）；"
        "`all_zero` 来自官方代码，默认值为我们的选择。"
    ),
    "hint_variant": "展示给学生的内容：提示和标准答案，或只有提示。",
    "hint_language": "我们自带的提示模板所用的语言。",
    "hint_prompt": "向教师提问的 Jinja 文件；null 使用自带模板。",
    "hinted_prompt": "带提示向学生提问的 Jinja 文件；null 使用自带模板。",
    "hint_tags": "提示位于 &lt;hint&gt; 标签之间；false 则取全文。",
    "hint_max_new_tokens": "提示在此长度处被截断，至少 1。",
    "hint_temperature": "教师撰写提示的温度，0 为贪心。",
    "dynamic_sampling": "若一组回答的奖励全部相同而无可学习，则换一道题生成（DAPO，arXiv 2503.14476）。",
    "kl_in_reward": "将 `kl_beta` 乘以回答的 KL（log pi - log pi_ref 在词元上的和）从奖励中扣除，而不作为损失的一部分。",
    "max_resample_times": "`dynamic_sampling` 为一个位置最多尝试的题目数，至少 1。",
    "kepo_gap_weight": "按 sigmoid(rejected 的置信度 - chosen 的置信度) 为样本对加权。",
    "kepo_nll_weight": "chosen 文本平均词元 NLL 的权重，不小于 0。",
    "ref_logps_cache": (
        "保存参考对数概率的文件：只计算一次，模型、模板、像素和样本不变时重复使用。`auto` 为 `output_dir` 中的 ref_logps.jsonl。"
    ),
    "itc_weight": "图文对比损失的权重，不小于 0。",
    "itm_weight": "图文匹配判断的权重，不小于 0。",
    "lm_weight": "宿主 `sft` 在答案上的损失的权重，不小于 0。",
    "itc_temperature": "对比损失的初始温度，0.001 到 0.5；训练中会学习。",
    "label_smoothing": "对比损失的标签平滑，0 到小于 1。",
    "share_prefix": (
        "HinD 各阶段：多个答案共有的图片和提示词元只计算一次。`auto` 在开始时与普通计算比较，不一致则不使用；"
        "`on` 在不一致时报错。"
    ),
    "rollout_engine": "由谁生成回答：`hf` 为策略自身，`vllm` 为服务器。",
    "rollout_server": "服务器地址，例如 http://127.0.0.1:8000，或同一模型的多个服务器地址。",
    "rollout_api_key_env": "存放 API 密钥的环境变量的名称；null 表示不发送密钥。",
    "rollout_sync": "只发送适配器（`lora`）或整个模型（`full`）；`auto` 在 vLLM 支持该适配器时为 `lora`。",
    "rollout_sync_every": "两次同步之间的优化步数；大于 1 即有意离策略。",
    "rollout_sync_dir": "训练端和服务器以同一路径看到的文件夹；null 为 `output_dir` 中的 `rollout_weights`。",
    "rollout_correction": "按训练端与服务器概率之比为词元损失加权：超过上限时截断或置 0，逐词元或逐回答（名称与 TRL 相同）。",
    "rollout_correction_cap": "`rollout_correction` 的最大权重；默认 2.0，与 TRL 和 ms-swift 相同。",
    "rollout_ahead": "1 表示在学习当前步时用旧一步的权重生成下一步的回答；0 关闭。",
    "rollout_timeout": "一次请求或一次同步允许的秒数；失联的服务器也等待这么久。",
    "rollout_max_retries": "失败的请求重发的次数。",
    "rollout_top_p": "从累计概率达到此值的最小词元集合中采样；1.0 关闭。",
    "rollout_top_k": "从概率最高的若干词元中采样；0 关闭。",
    "reward_timeout": "一次奖励调用允许的秒数。",
    "clip_low": "新旧策略之比最多比 1 低这么多，再低则裁剪。",
    "clip_high": "新旧策略之比最多比 1 高这么多，再高则裁剪。",
    "num_iterations": "在同一批回答上的优化步数。",
    "advantage_scale": "将优势除以组的标准差、整批的标准差，或不除。",
    "loss_reduction": "在回答上平均（GRPO）、在词元上平均（DAPO），或除以常数 `max_new_tokens`（Dr. GRPO）。",
    "loss_micro_batch": "损失计算一次处理的回答数。较少则省显存但更慢：除提示外都计算两遍。null 为整个微批。",
    "policy_loss": "PPO 的裁剪目标，或 CISPO：裁剪权重而保留每个词元的梯度（MiniMax-M1，arXiv 2506.13585）。",
    "ratio_level": "逐词元的策略比率，或每个回答一个比率（GSPO，arXiv 2507.18071）。",
    "reward_normalization": "比较奖励的加权和，或先逐项比较再求和（GDPO，arXiv 2601.05242）。",
    "mask_truncated": "在 `max_new_tokens` 处被截断的回答不参与学习（DAPO 的超长过滤，arXiv 2503.14476）。",
    "overlong_buffer": "`max_new_tokens` 之前的若干词元内，惩罚从 0 增至 `overlong_penalty`（DAPO 的软超长惩罚）；0 关闭。",
    "overlong_penalty": "`overlong_buffer` 的最大惩罚，以奖励为单位。",
    "group_reward_range": "参与学习的组的平均奖励上下限，例如 [0.1, 0.9]；null 不限制。",
    "rollout_tokens": (
        "生成回答时同时处理的词元数上限，包括提示和每个回答的 `max_new_tokens`。null 表示 GPU 空闲显存所能容纳的数量，CPU 上不限制。"
    ),
    "entropy_target": (
        "熵奖励所维持的平均熵（nats）：系数从 `entropy_coef` 开始，熵低于目标时按 `entropy_target_step` 上升，"
        "高于目标时下降（Skywork-OR1，arXiv 2505.22312）；null 关闭。"
    ),
    "entropy_target_step": "使用 `entropy_target` 时，系数每个优化步的变化量。",
    "entropy_coef": "熵奖励的权重：策略在所写词元处的平均熵乘以此值，从损失中减去；0 关闭。",
    "reward_weights_end": "训练结束时 `reward_funcs` 的权重；由 `reward_weights` 线性过渡而来。null 保持不变。",
    "reward_weights_span": "权重在训练的多大比例内到达 `reward_weights_end`，大于 0，至多 1。",
    "curriculum_column": "数值列；每轮从小到大，相同者随机打乱；null 关闭。",
    "external_ratio": (
        "外部（或带提示）词元的优势所乘的比率：pi/pi_old（Vision-EKIPL）、不裁剪的 pi/(pi + gamma)（LUFFY），"
        "或需要文本 `logprob` 的 pi/q。"
    ),
    "external_gamma": "`external_ratio: shaped` 的伽马系数，大于 0；默认 0.1，与 LUFFY 相同。",
    "temporal_weight": "对视频片段回答正确且组内按序帧不差于乱序帧时增加的奖励（T-GRPO：0.3）；0 则不生成乱序帧的回答。",
    "temporal_ratio": "按序帧的首个奖励至少为乱序帧的这一比例；tulerfeng/Video-R1 中为 0.8。",
    "temporal_generations": "每道题在乱序帧下的回答数；null 为 `num_generations` 的一半。",
    "control_tokens": (
        "被分词器当作控制符的文本（`&lt;|im_end|&gt;`、`&lt;|image_pad|&gt;`）：视为坏样本（`error`），"
        "或当作普通文本读取，在首字符后加空格（`escape`）。"
    ),
    "media_as_host": (
        "按 LLaMA-Factory 单独运行时的方式读取媒体：照片按存储方向而不转正，去掉透明度，截断高位深灰度，"
        "视频按文件头的帧号采样；否则所有命令采用同一种方式，见 docs/media.md。"
    ),
    "ref_model": "约束策略的参考模型；留空为加载时的模型。",
    "video_fps": "视频每秒采样的帧数；留空为 2。",
    "video_maxlen": "每段视频最多的帧数；留空为 128。",
    "save_total_limit": "保留的检查点数；留空则全部保留。",
    "seed": "所有随机数的种子；留空为 42。",
}
