"""The experiment of iris.toml through the Python API; run: python examples/iris_api.py."""

import eqp_hw

experiment = eqp_hw.Experiment.create(
    task="iris",
    split={"kind": "stratified", "test_fraction": 0.2, "validation_fraction": 0.2},
    encoding={"input": "linear", "target": "one-hot"},
    network=eqp_hw.layered([4, 10, 3]),
    initial={"coupling": "fan", "bias": "none", "kind_scales": {"layer1-layer2": 0.5}},
    cost=eqp_hw.LogCosine(),
    estimator={"kind": "centred", "beta": 0.05},
    optimiser={
        "kind": "momentum",
        "momentum": 0.9,
        "learning_rate": 0.03,
        "decay": 0.98,
        "rate_factors": {"layer1-layer2": 0.25},
    },
    run={
        "epochs": 120,
        "batch_size": 16,
        "input_noise": 0.3,
        "selection": "last",
        "seed": 1,
        "evaluation_starts": 4,
    },
)

if __name__ == "__main__":
    outcome = experiment.run(output="iris_api.h5")
    print(f"test accuracy {outcome.test_accuracy:.3f}, record in {outcome.run_file}")
