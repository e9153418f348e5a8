"""What runs inside the demo's containers: POSIX shell and awk, for an image with nothing else.

Each is the text of `sh -c TEXT NAME ARGUMENT…`. Bytes are counted, not characters (LC_ALL=C). A
result appears under its name only when it is whole, so that an attempt can be repeated.
"""

GREET = """\
set -eu
echo "hello from job $AWS_BATCH_JOB_ID, attempt $AWS_BATCH_JOB_ATTEMPT"
echo "queue $AWS_BATCH_JQ_NAME, environment $AWS_BATCH_CE_NAME ($AWS_EXECUTION_ENV)"
"""

#: $1 input folder, $2 shard, $3 output folder.
COUNT = """\
set -euo pipefail
export LC_ALL=C
find "$1/$2" -type f |
    while IFS= read -r file; do
        tr -cs 'A-Za-z0-9_' '\\n' <"$file"
        echo
    done |
    awk '{ sub(/^[0-9]+/, "") }
         $0 != "" { count[$0]++ }
         END { for (word in count) printf "%d\\t%s\\n", count[word], word }' >"$3/.$2"
mv "$3/.$2" "$3/$2.tsv"
files=$(find "$1/$2" -type f | wc -l)
awk -v shard="$2" -v files="$files" '
    { words += $1 }
    END { printf "%s: %d files, %d words, %d different\\n", shard, files, words, NR }' "$3/$2.tsv"
echo "the commonest:"
sort -k1,1nr -k2,2 "$3/$2.tsv" >"$3/.$2"
head -n 3 "$3/.$2"
rm "$3/.$2"
"""

#: $1 output folder, $2 how many parts there must be, $3 how many lines to print.
MERGE = """\
set -euo pipefail
export LC_ALL=C
parts=$(find "$1" -name 'shard-*.tsv' | wc -l)
if [ "$parts" -ne "$2" ]; then
    echo "there are $parts parts, not $2"
    exit 1
fi
cat "$1"/shard-*.tsv |
    awk -F '\\t' '
        { count[$2] += $1 }
        END { for (word in count) printf "%d\\t%s\\n", count[word], word }' |
    sort -k1,1nr -k2,2 >"$1/.total"
mv "$1/.total" "$1/total.tsv"
head -n "$3" "$1/total.tsv"
"""
