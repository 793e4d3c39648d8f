#!/bin/bash
# The command `mailport connect`, one process for each dial, whose start is counted.
#
# Usage: mailport_connect.sh MAILPORT HOST PORT... Of each number on standard input it makes that
# many dials, and prints the milliseconds that they took and the port that the last one reached
# (0: none).

mailport=$1 host=$2
shift 2
plan=$(printf ',%s:starttls' "$@")
plan=${plan#,}

while read -r times; do
    port=0 start=${EPOCHREALTIME/./}
    for ((; times > 0; times--)); do
        sentence=$("$mailport" connect --cache off --plan "$plan" "$host")
        if [[ $sentence =~ connected\ to\ ([0-9]+) ]]; then port=${BASH_REMATCH[1]}; else port=0; fi
    done
    took=$((${EPOCHREALTIME/./} - start))
    printf '%d.%03d %d\n' $((took / 1000)) $((took % 1000)) "$port"
done
