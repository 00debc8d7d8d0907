"""Room cli."""

import click

from bad_input.rows import Row
from sdelimit.cli.main import main


def command(name, *arguments):
    """The command line; the error as it is shown."""
    try:
        main.main([name, *arguments], standalone_mode=False)
    except click.UsageError as error:
        raise click.UsageError(error.format_message()) from error


def usage(message, *arguments):
    return Row(command, click.UsageError, message, arguments, {})


def config(text, *options):
    """``sdelimit sweep`` with this configuration file."""
    with open("config.toml", "w", encoding="utf-8") as file:
        file.write(text)
    command("sweep", "config.toml", "--out", "out", *options)


def wrong_config(message, text):
    return Row(config, click.UsageError, message, (text,), {})


CONFIG = 'optimizer = "sgd"\nlr = 0.1\nd = 8\nt_max = 1.0\n'
TABLE = [
    usage("No such option '?--runz", "compare", "--runz", "3"),
    usage("did you mean 'compare'", "compair"),
    usage("alpha must be > 0", "scaling", "--alpha", "-1"),
    usage("beta must be > 1/2 - alpha", "scaling", "--beta", "-3"),
    usage("v must be > d", "scaling", "--ratio", "0.5"),
    usage("ratio must be > 0", "scaling", "--ratio", "0"),
    usage("ds must be two or more different sizes", "scaling", "-d", "50"),
    usage("--lr must be a number", "scaling", "--lr", "sgd=fast"),
    usage("--lr names 'signsgd', which is none of the rules: -o sgd", "scaling", "--lr", "signsgd=0.1"),
    usage("lrs must be > 0", "scaling", "--lr", "-3"),
    usage("horizon must pay for at least 10 steps", "scaling", "--horizon", "100"),
    usage("did you mean 'sign_sgd'", "scaling", "-o", "sgn_sgd"),
    usage("problem must be made of a covariance for sign_sgd", "scaling", "-o", "sign_sgd", "--deterministic"),
    usage("Invalid value for '--schedule'", "scaling", "--schedule", "wds"),
    usage("did you mean 'sign_sgd'", "compare", "-o", "sgn_sgd"),
    usage("did you mean 'gaussian'", "compare", "-n", "gausian:0.3"),
    usage("did you mean 'ar1'", "compare", "-K", "ar:0.3"),
    usage("'student_t' needs df and scale; for example student_t:2,0.3", "compare", "-n", "student_t"),
    usage("'clip_norm' needs threshold; for example clip_norm:1", "compare", "-o", "clip_norm"),
    usage("'cosine' needs start; for example cosine:0.5", "compare", "--lr", "cosine"),
    usage(r"diagonal:\[1,2\] has d = 2, got --d 3", "compare", "-K", "diagonal:[1,2]", "--d", "3"),
    usage("'noise' is not one of", "list", "noise"),
    usage("did you mean 'cosine'", "compare", "--lr", "cosin:0.3"),
    usage("did you mean 'sgd'", "compare", "--lr", "sdg=0.3"),
    usage("no learning rate for sign_sgd", "compare", "--lr", "sgd=0.3"),
    usage("lr must be >= 0", "compare", "--lr", "-0.3"),
    usage("lr must be finite", "compare", "--lr", "nan"),
    usage("std must be > 0", "compare", "-n", "gaussian:-1"),
    usage("'gaussian' needs std; for example gaussian:0.5", "compare", "-n", "gaussian"),
    usage(r"takes at most 1 argument\(s\), std, and has 3", "compare", "-n", "gaussian:0.1,0.2,0.3"),
    usage("rho must lie strictly between", "compare", "-K", "ar1:2"),
    usage("cannot read the arguments", "compare", "-K", "ar1:import"),
    usage("cannot read the arguments", "compare", "-K", "ar1:0.5)+(1"),
    usage("cannot read the arguments", "compare", "-K", "ar1:*[1]"),
    usage("cannot read nowhere.npy", "compare", "-K", "nowhere.npy"),
    usage("bad.npy does not hold an array", "compare", "-K", "bad.npy"),
    usage("bad.npy does not hold an array", "compare", "-n", "bad.npy"),
    usage("did you mean 'logistic'", "compare", "--model", "logistc"),
    usage("did you mean 'hard'", "compare", "--model", "logistic:hrad"),
    usage("threshold must be > 0", "compare", "--model", "huber:0"),
    usage("threshold must be a real number, got 'soft'", "compare", "--model", "huber:soft"),
    usage("overlap must lie in", "compare", "--model", "phase:1.5"),
    usage("'probit:1' takes no arguments, and has 1", "compare", "--model", "probit:1"),
    usage("has the argument 'labels' twice", "compare", "--model", "logistic:hard,labels=soft"),
    usage("cannot read the arguments", "compare", "--model", "logistic:import"),
    usage("--noise must be none for the model 'logistic'", "compare", "--model", "logistic", "-n", "gaussian:0.3"),
    usage("--noise must be none for the model 'phase'", "compare", "--model", "phase", "-n", "none", "-n", "cauchy:1"),
    usage("target: 'sprase:5' must be dense, e1", "compare", "--target", "sprase:5"),
    usage("target: 'e0' must have an integer from 1 to d = 9", "compare", "--d", "9", "--target", "e0"),
    usage("target: 'sparse:10' must have an integer from 1 to d", "compare", "--d", "9", "--target", "sparse:10"),
    usage("target: 'sparse' needs the number of entries.*sparse:5", "compare", "--target", "sparse"),
    usage("cannot read nowhere.npy", "compare", "--target", "nowhere.npy"),
    usage("--data brings its own --target", "compare", "--data", "nowhere.npz", "--target", "e1"),
    usage("cannot read nowhere.npz", "compare", "--data", "nowhere.npz"),
    usage("--balance is of the rows of --data", "compare", "--balance"),
    usage("--label is of the rows of --data", "compare", "--label", "price"),
    usage("--model must be linear or logistic with --data", "compare", "--data", "x.npz", "--model", "logistic:soft"),
    usage("--model must be linear or logistic with --data", "compare", "--data", "x.npz", "--model", "probit"),
    usage("--data brings its own --d", "compare", "--data", "nowhere.npz", "--d", "3"),
    usage("--runs must be >= 1", "compare", "--runs", "0"),
    usage("'--runs': 'many' is not a valid int", "compare", "--runs", "many"),
    usage("--paths must be >= 1", "compare", "--paths", "0"),
    usage("d must be >= 1", "compare", "--d", "0"),
    usage("--t-max > 0", "compare", "--t-max", "0"),
    usage("'--t-max': 'soon' is not a valid float", "compare", "--t-max", "soon"),
    usage("--t-max must reach one step", "compare", "--t-max", "1e-9"),
    usage("--points must be >= 2", "compare", "--points", "1"),
    usage("batch_size must be >= 1", "compare", "--d", "20", "--batch-size", "0"),
    usage("seed must be >= 0", "compare", "--d", "20", "--seed", "-1"),
    usage("--out: cannot write to", "compare", "--d", "20", "--out", "bad.npy/out"),
    usage("did you mean 'sign_sgd'", "ode", "-o", "sgn_sgd"),
    usage("--points must be >= 2", "ode", "--points", "1"),
    usage("--data brings its own --d", "ode", "--data", "nowhere.npz", "--d", "3"),
    usage("--out: cannot write to", "ode", "--d", "20", "--out", "bad.npy/out"),
    usage("No such option '?--runs", "ode", "--runs", "3"),
    usage("'clip_norm' needs threshold", "effects", "-o", "clip_norm"),
    usage("problem must be a LinearRegression", "effects", "--d", "20", "--model", "logistic"),
    usage("--label is of the rows of --data", "explore", "--label", "price", "--write-only"),
    usage("--data brings its own --d", "explore", "--d", "3", "--data", "bad.npy", "--write-only"),
    usage("--data: cannot read nowhere.csv", "explore", "--data", "nowhere.csv", "--write-only"),
    usage("--force overwrites the output in --out", "ode", "--force"),
    usage("--out must end in .ipynb", "explore", "--out", "out", "--write-only"),
    usage("'--d': 0 is not in the range", "explore", "--d", "0", "--write-only"),
    usage("Missing argument 'CONFIG'", "sweep", "--out", "out"),
    usage("Missing option '--out'", "sweep", "config.toml"),
    usage("'--workers': 0 is not in the range", "sweep", "config.toml", "--out", "out", "--workers", "0"),
    usage("config: cannot read nowhere.toml", "sweep", "nowhere.toml", "--out", "out"),
    usage("config: bad.npy is not a TOML file", "sweep", "bad.npy", "--out", "out"),
    wrong_config("config: .* has no optimizer", "lr = 0.1\n"),
    wrong_config("config: unknown value 'lrs'.*did you mean 'lr'", CONFIG + "lrs = 0.1\n"),
    wrong_config("config: .* has no optimizer", "\ufefflr = 0.1\n"),
    wrong_config("config: unknown value 'nois'.*did you mean 'noise'", CONFIG + "nois = 'none'\n"),
    Row(config, click.UsageError, "--workers and --dask say both", (CONFIG, "--workers", "2", "--dask", "x"), {}),
    wrong_config("did you mean 'sign_sgd'", CONFIG.replace("sgd", "sgn_sgd")),
    wrong_config("config: .* is not a TOML file", "lr = \n"),
    wrong_config("n_runs must be an integer", CONFIG + 'n_runs = "many"\n'),
    wrong_config("points must be >= 2", CONFIG + "points = 1\n"),
    wrong_config("batch_size must be >= 1", CONFIG + "batch_size = [0]\n"),
    wrong_config("did you mean 'probit'", CONFIG + "model = 'probt'\n"),
    wrong_config("noise must be none for the model 'probit'", CONFIG + "model = 'probit'\nnoise = 'gaussian:1'\n"),
    wrong_config("noise must be a text", CONFIG + "noise = 0.3\n"),
    usage("Missing argument 'FOLDER'", "report"),
    usage("holds no sweep", "report", "nowhere"),
    usage("No such option '?--axes", "report", "nowhere", "--axes", "d"),
    usage("Missing argument 'FILE'", "rerun"),
    usage("file: cannot read", "rerun", "nowhere.npz"),
    usage("file: bad.npy is not a result", "rerun", "bad.npy"),
    usage("unexpected extra argument", "rerun", "a.npz", "b.npz"),
]  # fmt: skip
