#!/bin/sh
# Makes the default model and everything that is said about it: training set, bundle, test cohort, measurements.
#
#     sh Testing/benchmarks/default_model/train.sh FOLDER
#
# WIDTH (filters at full resolution) and PROCESSES (that simulate) can be set in the environment; with ABLATION=1 the
# ablation of the paper, which trains three times, is run as well. Every step goes on where it stopped when the
# script is started again, and takes what is complete as it is. `cmmdetect` and `python` are those of the environment
# in which CMMDetect is installed with its training packages.
set -eu

DIR=${1:?give the folder to work in}
WIDTH=${WIDTH:-8}
PROCESSES=${PROCESSES:-2}
BENCHMARKS=$(cd "$(dirname "$0")/.." && pwd)
MODEL="$DIR/CMMDetect-model"

# Patches bring many heads and protocols; whole heads show what patches lack: the edge of the brain, the candidates of
# stage 1 and, in the validation subjects, the false positives that thresholds are chosen by. No noise is added: it would
# come after the radial symmetry transform, and teach the detector that the transform never errs.
OPTIONS="--width $WIDTH --patch-size 32 --simulated-patches 7000 --processes $PROCESSES --seed 1
    --validation-share 0.34 --patches-an-epoch 3000 --epochs 12 8 24 --learning-rate 0.002 --decay 0.5
    --decay-epochs 3 --epsilon 1e-8 --augmentation 1 --noise-variance 0 --contrast 1.3"

cmmdetect simulate -o "$DIR/training" -n 18 --protocol ukbb tich2 aibl --seed 101

# neither seed nor preset is one of the training's; the patches' protocols are random draws and no presets at all
cmmdetect simulate -o "$DIR/test" -n 30 --seed 202 --protocol \
    oxvasc mars fast crb oxvasc mars fast shk oxvasc mars fast crb oxvasc mars fast 7t

if [ ! -f "$MODEL/model.json" ]; then
    RESUME=
    if [ -d "$MODEL.training" ]; then RESUME=--resume; fi
    # shellcheck disable=SC2086 - a list of options
    cmmdetect train "$DIR/training" -o "$MODEL" $OPTIONS $RESUME
fi

# the model and both floors on the same scans, by modality; evaluations/ has a report of each like that of
# `cmmdetect evaluate`, and the records that the table of targets is made of
cmmdetect experiment generalization "$DIR/test" -o "$DIR/measured" --model "$MODEL" --methods paper classical blob
python "$BENCHMARKS/default_model/targets.py" "$DIR/measured/evaluations/"* > "$DIR/targets.md"
cat "$DIR/targets.md"

python "$BENCHMARKS/robustness.py" --model "$MODEL" > "$DIR/robustness.md"
cat "$DIR/robustness.md"

if [ -n "${ABLATION:-}" ]; then
    # shellcheck disable=SC2086 - a list of options
    cmmdetect experiment ablation "$DIR/training" "$DIR/test" -o "$DIR/ablation" $OPTIONS
fi
