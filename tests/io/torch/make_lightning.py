"""Writes lightning.ckpt as the published code does: Lightning's Trainer, OmegaConf hyper-parameters, trained tensors only."""
import sys, tempfile, torch, lightning.pytorch as pl
from omegaconf import OmegaConf
out = sys.argv[1]
torch.manual_seed(0)
cfg = OmegaConf.create({
    "model": {"target": "src.models.cot.LitCoT", "model_kwargs": {"model_id": "tiny", "do_lora": True,
              "lora_config": {"r": 2, "lora_alpha": 3}}, "training_kwargs": {"optimizer": {"lr": 1e-4}}},
    "dataset": {"name": "gsm", "sizes": [1, 2.5, None, "x"]},
})
class Lit(pl.LightningModule):
    def __init__(self, model_kwargs, training_kwargs, all_config=None):
        super().__init__()
        self.save_hyperparameters()
        self.lin = torch.nn.Linear(1, 1)
    def configure_optimizers(self): return torch.optim.AdamW(self.parameters())
    def training_step(self, batch, i): return self.lin(batch[0]).sum()
    def on_save_checkpoint(self, checkpoint):
        p = "llm.base_model.model.model.layers.0.self_attn."
        sd = {}
        for m, n in (("q_proj", 16), ("v_proj", 8)):
            sd[f"{p}{m}.lora_A.default.weight"] = torch.randn(2, 16) if m == "q_proj" else torch.randn(16, 2).t()
            sd[f"{p}{m}.lora_B.default.weight"] = torch.randn(n, 2).to(torch.bfloat16 if m == "q_proj" else torch.float16)
        sd["extra.count"] = torch.arange(3)
        sd["extra.double"] = torch.tensor([0.1, 0.2], dtype=torch.float64)
        checkpoint["state_dict"].clear()
        checkpoint["state_dict"].update(sd)
m = Lit(cfg.model.model_kwargs, cfg.model.training_kwargs, all_config=cfg)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 1)), batch_size=1)
cb = pl.callbacks.ModelCheckpoint(save_weights_only=True, dirpath=tempfile.mkdtemp())
t = pl.Trainer(max_epochs=1, logger=False, callbacks=[cb], accelerator="cpu", enable_progress_bar=False)
t.fit(m, data)
t.save_checkpoint(out, weights_only=True)
t.save_checkpoint(out.replace(".ckpt", "_full.ckpt"), weights_only=False)
sd = torch.load(out, weights_only=False)["state_dict"]
for k, v in sd.items(): print(k, v.dtype, list(v.shape), v.is_contiguous(), v.double().flatten()[:3].tolist(), v.double().sum().item())
import omegaconf
print(torch.__version__, pl.__version__, omegaconf.__version__)
