#!/bin/bash
# Runs what the test sends through file descriptor 3: seconds and length, then a script of that
# length. Answers its exit code and the lengths of both streams, then the streams.
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
echo ready >&3
while read -r seconds length <&3; do
    head -c "$length" <&3 > "$work/script"
    code=0
    timeout "$seconds" bash -e "$work/script" \
        < /dev/null > "$work/out" 2> "$work/err" 3>&- || code=$?
    # What a script has left running may still write.
    out=$(stat -c %s "$work/out") err=$(stat -c %s "$work/err")
    { echo "$code $out $err"; head -c "$out" "$work/out"; head -c "$err" "$work/err"; } >&3
done
