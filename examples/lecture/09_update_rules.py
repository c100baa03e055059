"""Update rules: Nesterov in a narrow valley, AdaGrad's dying step

Three claims. Nesterov's momentum looks ahead and so brakes before the wall where plain momentum swings up it. Its two forms,
looking ahead and transformed variables, are one method. AdaGrad divides by the sum of all squared gradients so far, which only
grows: its step dies, while RMSProp's running mean lets it live. The first and last are measured in valleys and on the digits.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, reached, run, smooth, table, train

import fastnet
from fastnet import optim, trajectories
from fastnet.trajectories import Surface


def valley(steepness):
    """x^2 + steepness y^2, halved."""
    return Surface(
        f"valley {steepness}",
        f"(x² + {steepness} y²) / 2",
        lambda x, y: (x**2 + steepness * y**2) / 2,
        lambda x, y: (x, steepness * y),
        start=(-9.0, 1.0),
        window=(-40.0, 40.0, -4.0, 4.0),
        minimum=(0.0, 0.0),
        steps=1500,
    )


def arrivals(steepness, steps):
    """mu -> (steps of momentum, of Nesterov) until the height stays below a millionth of the start's, both at 1 / steepness."""
    found = {}
    for mu in (0.5, 0.9, 0.95, 0.99):
        rules = {
            "momentum": lambda params, mu=mu: optim.SGD(params, lr=1 / steepness, momentum=mu),
            "Nesterov": lambda params, mu=mu: optim.SGD(params, lr=1 / steepness, momentum=mu, nesterov=True),
        }
        one = trajectories.trace(valley(steepness), rules, steps=steps)
        high = {name: np.flatnonzero(values > 1e-6 * values[0]) for name, values in one.values.items()}
        found[mu] = tuple(int(high[name][-1]) + 1 for name in rules), one
    return found


def forms():
    """The largest difference of the two forms, each seen from the other's place, over 100 steps."""
    one = trajectories.trace("rosenbrock", steps=100)
    transformed, ahead = one.paths["Nesterov"], one.paths["Nesterov, looking ahead"]
    v = ahead[1:] - ahead[:-1]  # w_next - w = -lr v, and the transformed form stands at w - lr mu v
    return float(np.abs(transformed[1:] - (ahead[1:] + 0.9 * v)).max())


def main(out, short=False):
    drawing, (left, right) = panels(2, width=5.4)
    rows, numbers = [], {"forms_apart": forms()}
    steps = 300 if short else 1500
    for steepness in (10, 100, 1000):
        for mu, ((momentum, nesterov), one) in arrivals(steepness, steps).items():
            shown = [value if value <= steps else f"over {steps}" for value in (momentum, nesterov)]
            rows.append([f"{steepness}, mu {mu}", *shown, f"{momentum / nesterov:.2f}"])
            numbers[f"{steepness}, {mu}"] = (momentum, nesterov)
            if steepness == 100 and mu == 0.95:
                for colour, (name, values) in zip(COLOURS, one.values.items()):
                    left.semilogy(np.maximum(values[:300], 1e-12), color=colour, label=name)
                    path = one.paths[name][:120]
                    right.plot(path[:, 0], path[:, 1], color=colour, label=name, linewidth=1.2)
    frame(left, "Height in the valley 1 : 100, mu 0.95", "step", "height")
    left.legend(frameon=False)
    frame(right, "The first 120 steps, seen from above", "x, the valley's length", "y, its steep side")
    right.plot(0, 0, "k+", markersize=12)
    finish(drawing, out / "09_update_rules_nesterov.png")
    table(["steepness, momentum", "momentum: steps", "Nesterov: steps", "ratio"], rows)
    print(
        f"\nthe two forms of Nesterov, 100 steps on Rosenbrock's function: at most {numbers['forms_apart']:.1e} apart\n"
    )

    data, epochs = digits(500 if short else 4000), 2 if short else 10
    kinds = {
        "SGD": lambda p: optim.SGD(p, lr=0.1),
        "momentum 0.9": lambda p: optim.SGD(p, lr=0.02, momentum=0.9),
        "Nesterov 0.9": lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
        "AdaGrad": lambda p: optim.AdaGrad(p, lr=0.01),
        "RMSProp": lambda p: optim.RMSProp(p, lr=0.001, alpha=0.9),
        "Adam": lambda p: optim.Adam(p, lr=0.001),
    }
    drawing, (left, right) = panels(2, width=5.4)
    rows = []
    for colour, (name, make) in zip(COLOURS, kinds.items()):
        moved, before = [], [None]

        def note(solver, moved=moved, before=before):
            w = solver.optimizer.buffer.data
            if before[0] is not None:
                moved.append(
                    float(np.linalg.norm(w - before[0]) / max(np.linalg.norm(solver.optimizer.buffer.grad), 1e-12))
                )
            before[0] = w.copy()

        watch = fastnet.callbacks.Lambda(on_step=note)
        solver = train(mlp(784, 64, 10), data, make, epochs, callbacks=[watch])
        left.semilogy(smooth(solver.history.loss, 20), color=colour, label=f"{name}: {reached(solver):.1%}")
        if name in ("SGD", "AdaGrad", "RMSProp"):
            right.semilogy(smooth(moved, 20), color=colour, label=name)
        first, last = float(np.mean(moved[:10])), float(np.mean(moved[-10:]))
        numbers[name] = {
            "loss": float(np.mean(solver.history.loss[-20:])),
            "accuracy": reached(solver),
            "step": last / first,
        }
        rows.append([name, numbers[name]["loss"], reached(solver), first, last])
    frame(left, "The rules on the digits: loss, validation accuracy", "step", "loss")
    left.legend(frameon=False, fontsize=8)
    frame(right, "How far a step goes for the slope it sees", "step", "|change of w| / |gradient|")
    right.legend(frameon=False)
    finish(drawing, out / "09_update_rules.png")
    table(["rule", "last loss", "validation accuracy", "step / gradient, first", "last"], rows)
    print("\nRMSProp's steps keep their length while gradients shrink, so its quotient rises; AdaGrad's falls.")

    # a slope of one size for ever: nothing but the rule's own memory can shorten the step
    weight = fastnet.layers.Linear(1, 1)
    lengths = {}
    for name, make in (("AdaGrad", kinds["AdaGrad"]), ("RMSProp", kinds["RMSProp"])):
        rule = make(weight.parameters())
        for _ in range(1000):
            before = rule.buffer.data.copy()
            rule.buffer.grad.fill(1)
            rule.step()
            lengths.setdefault(name, []).append(float(np.abs(rule.buffer.data - before).max()))
    for name, values in lengths.items():
        numbers[f"{name} after 1000"] = values[-1] / values[9]
        print(f"{name}: under a constant slope its 1000th step is {values[-1] / values[9]:.2f} times its 10th")
    return numbers


if __name__ == "__main__":
    run(main)
