"""Methods, one file each, and the named strategies (YAML) that compose them."""

METHODS = {
    "constant": "strategies.schedules:Constant",
    "rewarm_cosine": "strategies.schedules:RewarmCosine",
    "inf_cosine": "strategies.infinite:InfCosine",
    "inf_invsqrt": "strategies.infinite:InfInvsqrt",
    "wsd": "strategies.infinite:WSD",
    "replay": "strategies.replay:Replay",
    "joint": "strategies.joint:Joint",
    "scratch": "strategies.scratch:Scratch",
    "optimizer_state": "strategies.optimizer_state:OptimizerState",
    "answer_styles": "strategies.answer_styles:AnswerStyles",
    "lora": "strategies.lora:Lora",
    "reglora": "strategies.reglora:RegLora",
    "o_lora": "strategies.o_lora:OLora",
    "n_lora": "strategies.n_lora:NLora",
    "ewc": "strategies.ewc:EWC",
    "mas": "strategies.mas:MAS",
    "si": "strategies.si:SI",
}
"""Name in a strategy's list -> "module:Class"; nothing is imported before it is used."""
