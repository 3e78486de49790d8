#!/bin/sh
# page.sh FILL SCDOC PAGE.scd OUTPUT COMPRESSOR...
set -e
fill=$1 scdoc=$2 page=$3 output=$4
shift 4
"$fill" "$page" >"$output.scd"
# The first line asks for the preprocessor of tables.
{
    printf '%s\n' "'\\\" t"
    "$scdoc" <"$output.scd"
} | "$@" >"$output"
