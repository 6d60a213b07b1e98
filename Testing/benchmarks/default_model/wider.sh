#!/bin/sh
# Trains a wider model in another way and draws its curves beside the default model's, by which the width was chosen.
#
#     sh Testing/benchmarks/default_model/wider.sh FOLDER
#
# FOLDER is that of train.sh, which has to be finished: the test cohort and the default model's measurement are taken
# from there. PROCESSES (that simulate) and TRAINERS (processes that train, one thread or one GPU each) can be set in
# the environment. Every step goes on where it stopped when the script is started again.
set -eu

DIR=${1:?give the folder of train.sh}
PROCESSES=${PROCESSES:-2}
TRAINERS=${TRAINERS:-2}
BENCHMARKS=$(cd "$(dirname "$0")/.." && pwd)
MODEL="$DIR/wider"

# By 8 patches a step a classifier of this width stays at chance or nearly so; by 32 it learns.
OPTIONS="--width 16 --pixel 0.8 --patch-size 32 --simulated-patches 6000 --processes $PROCESSES
    --seed 1 --validation-subjects sub-005 sub-006 sub-008 sub-010 sub-012 sub-014 sub-018 sub-020 sub-022 sub-026
    --patches-an-epoch 4000 --epochs 16 4 16 --decay-epochs 4 1 3 --batch 8 32 32 --th-candidates 0.02
    --learning-rate 0.002 --decay 0.5 --epsilon 1e-8 --augmentation 1 --noise-variance 0 --contrast 1.3"

cmmdetect simulate -o "$DIR/wider-training" -n 26 --seed 303

if [ ! -f "$MODEL/model.json" ]; then
    RESUME=
    if [ -d "$MODEL.training" ]; then RESUME=--resume; fi
    # large blocks of memory are kept: to give them back to the system and ask anew costs a tenth of the time
    # shellcheck disable=SC2086 - a list of options
    OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456 \
        torchrun --nproc-per-node "$TRAINERS" -m CMMDetectTrainLib.cli train "$DIR/wider-training" -o "$MODEL" \
        $OPTIONS $RESUME
fi

cmmdetect experiment generalization "$DIR/test" -o "$DIR/wider-measured" --model "$MODEL" --methods paper
python "$BENCHMARKS/default_model/compare_models.py" "$DIR/widths.jpg" \
    "detector 8, student 16 (shipped)=$DIR/measured" "all networks 16=$DIR/wider-measured"
