# wbcache: build and install with PGXS; check, demo and bench through the scripts in test/.
# "make help" lists what there is.

# The targets in SCRIPT_GOALS work before PostgreSQL's build files are there (the scripts install what is missing), so
# that part of the file doesn't look for PGXS. The scripts call make again for the build.
SCRIPT_GOALS := check check-regress check-isolation check-tap check-upstream demo demo-stop bench bench-growth bench-warmer loadtest stress deps help

ifneq ($(filter $(SCRIPT_GOALS),$(MAKECMDGOALS)),)

.NOTPARALLEL:
.PHONY: $(MAKECMDGOALS)

check:
	@test/check.sh

check-regress check-isolation check-tap check-upstream: check-%:
	@test/check.sh $*

demo:
	@test/demo/demo.sh

demo-stop:
	@test/demo/demo-stop.sh

bench-warmer:
	@test/bench/warmer.sh

bench-growth:
	@test/bench/growth.sh

bench:
	@test/bench/bench.sh
	@test/bench/invalidation.sh
	@test/bench/sidebar.sh

loadtest:
	@test/load/load.sh

stress:
	@test/stress/stress.sh

deps:
	@test/lib/deps.sh

help:
	@echo "make                  build (WERROR= to let warnings pass; PG_CONFIG=... to choose the PostgreSQL)"
	@echo "make install          install into that PostgreSQL"
	@echo "make check            install what is missing, build, run every test on private instances"
	@echo "make check-regress    only the SQL tests        (TESTS=\"name ...\" for some of them)"
	@echo "make check-isolation  only the isolation tests  (TESTS=\"name ...\" for some of them)"
	@echo "make check-tap        only the TAP tests        (PROVE_TESTS=\"test/t/NNN_....pl ...\" for some of them)"
	@echo "make check-upstream   only the tests of the test upstream"
	@echo "make demo             a private PostgreSQL and a test upstream, with measured figures (FIXTURES=path)"
	@echo "make demo-stop        end the demo and remove everything it made"
	@echo "make bench            compare wbcache.get with Redis GET and others, what invalidation costs, and the sidebar"
	@echo "make bench-growth     what half an hour of refreshes does to the table behind memory"
	@echo "make bench-warmer     a real day of games at 100 times its speed, with the warmer and without (SCALE=100 HOURS=13)"
	@echo "make loadtest         reads while games change and the upstream fails: a table, and a chart over time (DURATION=150 CLIENTS=64 RATE=2000 GAMES=500)"
	@echo "make stress           a million reads beside transactions on the same key, checked (SEED=1 SESSIONS=8 OVERLAPS=1000000)"
	@echo "make deps             install the Debian packages that build, check and demo need"

# Goals of the build that stand beside a script: "make clean check".
$(filter-out $(SCRIPT_GOALS),$(MAKECMDGOALS)):
	@$(MAKE) --no-print-directory $@

else

ifeq ($(origin PG_CONFIG),undefined)
PG_CONFIG := $(firstword $(wildcard /usr/lib/postgresql/15/bin/pg_config) pg_config)
endif
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error The build files of PostgreSQL (PGXS) were not found through "$(PG_CONFIG)". Run "make deps", or name another with PG_CONFIG=/path/to/pg_config)
endif

EXTENSION = wbcache
MODULE_big = wbcache
DATA = $(wildcard sql/wbcache--*.sql) $(wildcard monitoring/*)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
EXTRA_CLEAN = tmp_check

CURL_CFLAGS := $(shell curl-config --cflags 2>/dev/null || pkg-config --cflags libcurl 2>/dev/null)
CURL_LIBS := $(shell curl-config --libs 2>/dev/null || pkg-config --libs libcurl 2>/dev/null || echo -lcurl)

WERROR ?= -Werror
PG_CPPFLAGS = $(CURL_CFLAGS)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare $(WERROR)
SHLIB_LINK = $(CURL_LIBS)

# A hit passes through ten files. Optimised together at link time they give "make bench" 1 to 2 % more gets a second. Only
# GCC: other compilers want a linker of their own for it.
ifneq ($(findstring Free Software Foundation,$(shell $(CC) --version 2>/dev/null)),)
PG_CFLAGS += -flto=auto -fno-semantic-interposition
endif

# A server built with LLVM asks for bitcode too, which needs its clang. Without that clang there is none.
SERVER_CLANG := $(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global)
ifeq ($(shell command -v $(firstword $(SERVER_CLANG) clang)),)
override with_llvm := no
endif

# The tests need instances of their own, with the library preloaded.
NO_INSTALLCHECK = 1

include $(PGXS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h) Makefile

.PHONY: installcheck
installcheck:
	@echo 'The tests start servers of their own: run "make check".'; exit 1

endif
