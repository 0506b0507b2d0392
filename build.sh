#!/usr/bin/env bash
# The one entry of this project: ./build.sh --target <Target>; ./build.sh --description lists the targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v dotnet >/dev/null; then
    echo "build.sh: the .NET SDK 10 is needed; install it and put 'dotnet' on the PATH" >&2
    exit 1
fi

# No banner, no telemetry, no build server that outlives this script (it would hold a CI's pipe open).
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
# The built executables find the runtime that this 'dotnet' belongs to, wherever it is installed.
export DOTNET_ROOT="${DOTNET_ROOT:-$(dirname "$(readlink -f "$(command -v dotnet)")")}"
# Colours are for people.
[ -t 1 ] || export NO_COLOR=1

dotnet tool restore --verbosity quiet >/dev/null || dotnet tool restore
exec dotnet cake build.cake "$@"
