"""The recipe that brings a network to 98 % on MNIST within seconds, in one place for all who time it."""

# Few epochs, at a high learning rate that rises for a tenth of the run and falls to 0; chosen on seeds 10 to 14.
RECIPE = (
    *("--dataset", "mnist", "--hidden", "256", "--batch-size", "128", "--epochs", "3"),
    *("--optimizer", "adam", "--learning-rate", "0.01", "--schedule", "warmup_cosine:0.1"),
    *("--no-pictures", "--checkpoint-every", "0"),  # the peers draw and keep nothing either
)
