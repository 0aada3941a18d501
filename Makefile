# signalbox: see README.md. The targets people use: make, make demo, make test, make install.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
# release: what is installed. asan: what is tested (AddressSanitizer and UBSan).
BUILD ?= release
OUT := build/$(BUILD)

LIBRARIES := ncursesw:libncurses-dev panelw:libncurses-dev libpq:libpq-dev hiredis:libhiredis-dev \
	libssh2:libssh2-1-dev readline:libreadline-dev json-c:libjson-c-dev libfyaml:libfyaml-dev \
	sqlite3:libsqlite3-dev libcurl:libcurl4-openssl-dev talloc:libtalloc-dev libcrypto:libssl-dev \
	zlib:zlib1g-dev
# Libraries of Debian without a pkg-config file: header:package
HEADERS := ev.h:libev-dev pg_query.h:libpg-query-dev uthash.h:uthash-dev bzlib.h:libbz2-dev

PC := $(foreach l,$(LIBRARIES),$(firstword $(subst :, ,$(l))))
VERSION := 0.1.0
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wpointer-arith -Wvla
CPPFLAGS += -I. -D_GNU_SOURCE -DSIGNALBOX_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PC) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(PC) 2>/dev/null) -lpg_query -lev -lbz2 -lpthread -lm
# TLS to Redis: hiredis 1.0 and newer, which not every distribution has.
ifneq ($(shell pkg-config --exists hiredis_ssl libssl 2>/dev/null && echo yes),)
CPPFLAGS += -DHAVE_HIREDIS_SSL $(shell pkg-config --cflags hiredis_ssl libssl)
LDLIBS += $(shell pkg-config --libs hiredis_ssl libssl)
endif
CFLAGS ?= -O2 -g
ifeq ($(BUILD),asan)
CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(BUILD),fuzz)
CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
endif
ifdef WERROR
WARNINGS += -Werror
endif
ALL_CFLAGS = -std=c11 $(WARNINGS) $(CFLAGS)

SOURCES := $(wildcard core/*.c tui/*.c backends/*.c backends/*/*.c keymaps/*.c panels/*.c)
GENERATED := $(OUT)/gen/builtin_keymaps.c $(OUT)/gen/collector_script.c
OBJECTS := $(SOURCES:%.c=$(OUT)/%.o) $(GENERATED:.c=.o)
LIBRARY := $(OUT)/libsignalbox.a
UNIT_TESTS := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(wildcard tests/unit/test_*.c))

.PHONY: all
all: signalbox

signalbox: build/release/signalbox
	@cp -f $< $@
ifneq ($(BUILD),release)
build/release/signalbox: FORCE
	@$(MAKE) --no-print-directory BUILD=release build/release/signalbox
endif

.PHONY: check-libraries FORCE
FORCE:
# Names what is missing, all at once, instead of the compiler's first error.
$(OUT)/libraries-found: Makefile
	@mkdir -p $(@D); missing=; \
	command -v pkg-config >/dev/null || missing=" pkg-config"; \
	command -v $(CC) >/dev/null || missing="$$missing gcc"; \
	for l in $(LIBRARIES); do pkg-config --exists $${l%%:*} 2>/dev/null || missing="$$missing $${l##*:}"; done; \
	for h in $(HEADERS); do echo "#include <$${h%%:*}>" | $(CC) $(CPPFLAGS) -E - >/dev/null 2>&1 || missing="$$missing $${h##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  missing=$$(echo $$missing | tr ' ' '\n' | sort -u | tr '\n' ' '); \
	  echo "signalbox cannot be built yet: these packages are missing: $$missing" >&2; \
	  echo "  on Debian or Ubuntu:  sudo apt-get install $$missing" >&2; \
	  echo "  or let the project do it:  tools/packages build" >&2; exit 1; fi; touch $@

$(OUT)/gen/builtin_keymaps.c: $(wildcard keymaps/*.keymap) tools/embed
	@mkdir -p $(@D)
	tools/embed $(wildcard keymaps/*.keymap) > $@.tmp && mv $@.tmp $@

$(OUT)/gen/collector_script.c: backends/hosts/collector.sh tools/embed
	@mkdir -p $(@D)
	tools/embed $< > $@.tmp && mv $@.tmp $@

$(OUT)/gen/%.o: $(OUT)/gen/%.c
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(OUT)/%.o: %.c | $(OUT)/libraries-found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	ar rcs $@ $^
$(OUT)/signalbox: $(OUT)/main.o $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/unit/%: $(OUT)/tests/unit/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_TESTS)

# What the tests of the outer layers are built with: a terminal around the program, clusters, golden screens.
HARNESS := $(OUT)/libharness.a
HARNESS_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/harness/*.c))
OUTER_TESTS := $(foreach l,e2e screen servers,$(patsubst tests/$(l)/%.c,$(OUT)/$(l)/%,$(wildcard tests/$(l)/test_*.c)))
$(OUT)/tests/%.o: CPPFLAGS += -DTEST_ROOT='"$(CURDIR)"' -DSIGNALBOX_PROGRAM='"$(CURDIR)/$(OUT)/signalbox"'
$(HARNESS): $(HARNESS_OBJECTS)
	@rm -f $@
	ar rcs $@ $^
define OUTER_RULE
$(OUT)/$(1)/%: $(OUT)/tests/$(1)/%.o $(HARNESS) $(LIBRARY)
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS) -lcmocka -lvterm -lutil
endef
$(foreach l,e2e screen servers,$(eval $(call OUTER_RULE,$(l))))
$(OUT)/screen/test_widgets: | $(OUT)/screen/show
# Its hosts' answers are fixed: these functions are its own.
SHOWN_HOSTS := host_latest host_feed host_history host_want_detail fleet_want ssh_host_state
$(OUT)/screen/show_hosts: LDFLAGS += $(foreach f,$(SHOWN_HOSTS),-Wl,--wrap=$(f))
$(OUT)/screen/test_hosts: | $(OUT)/screen/show_hosts
$(OUT)/screen/test_jobs: | $(OUT)/screen/show_jobs

# What workers told is fixed there.
$(OUT)/servers/test_celery_read: LDFLAGS += -Wl,--wrap=celery_answers

.PHONY: test-programs
test-programs: $(UNIT_TESTS) $(OUTER_TESTS) $(if $(wildcard main.c),$(OUT)/signalbox)

# Screens for the documentation, taken from real runs.
$(OUT)/picture: $(OUT)/tools/picture.o $(HARNESS)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lvterm -lutil

.PHONY: picture
picture:
	@tools/packages build test
	@$(MAKE) -s --no-print-directory -j"$$(nproc)" signalbox build/release/picture build/release/demo-workload
	@tools/pictures

.PHONY: test
test:
	@tools/packages build test lint
	@tests/run
.PRECIOUS: $(OUT)/tests/unit/%.o $(OUT)/tests/e2e/%.o $(OUT)/tests/screen/%.o $(OUT)/tests/servers/%.o

# The application of the demo platform: only libpq.
build/release/demo-workload: demo/workload.c | $(OUT)/libraries-found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=c11 $(WARNINGS) -O2 -g -o $@ $< $(shell pkg-config --libs libpq) -lpthread

# Two steps, because the libraries are looked for when make reads this file.
.PHONY: demo
demo:
	@tools/packages build demo
	@$(MAKE) -q signalbox build/release/demo-workload 2>/dev/null || echo "building signalbox"
	@$(MAKE) -s --no-print-directory -j"$$(nproc)" signalbox build/release/demo-workload
	@demo/run

# Each tests/fuzz/fuzz_NAME.c starts from tests/fuzz/seeds/NAME and tests/data/NAMEs; what it learns stays in build/fuzz.
FUZZ_SECONDS ?= 30
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/bin/%,$(wildcard tests/fuzz/fuzz_*.c))
build/fuzz/bin/%: build/fuzz/tests/fuzz/%.o build/fuzz/libsignalbox.a
	@mkdir -p $(@D)
	clang -g -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)
.PHONY: fuzz
fuzz:
	@$(MAKE) --no-print-directory BUILD=fuzz CC=clang $(FUZZERS)
	@for program in $(FUZZERS); do \
	  name=$${program##*/fuzz_}; corpus=build/fuzz/corpus/$$name; seeds=; mkdir -p $$corpus build/fuzz/found; \
	  for folder in tests/fuzz/seeds/$$name tests/data/$${name}s; do [ -d $$folder ] && seeds="$$seeds $$folder"; done; \
	  echo "fuzz $$name: $(FUZZ_SECONDS) s"; \
	  LSAN_OPTIONS='suppressions="$(CURDIR)/tests/lsan.supp":print_suppressions=0' $$program -max_total_time=$(FUZZ_SECONDS) \
	    -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 -artifact_prefix=build/fuzz/found/$$name- \
	    $$corpus $$seeds || exit 1; done

# Beside pg_activity and pg_top, on a server and a load of its own; hosts beside pssh and a ControlMaster.
# A Celery queue of a million jobs (BENCH_JOBS) beside redis-cli, which needs 6 GB of memory.
# BENCH_SECONDS=60 is how long CPU is measured, BENCH_PART=postgres, hosts or jobs only a part.
BENCH_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/bench/*.c))
$(OUT)/bench: $(BENCH_OBJECTS) $(HARNESS) $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka -lvterm -lutil
.PHONY: bench
bench:
	@tools/packages build test bench
	@$(MAKE) --no-print-directory signalbox build/release/bench
	@PATH="$$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1):$$PATH" build/release/bench

# What is made from the program's own tables; committed, and make lint fails when it is stale.
.PHONY: docs
docs: signalbox
	@mkdir -p docs
	./signalbox --keys > docs/keys.md.new && mv docs/keys.md.new docs/keys.md
	./signalbox --manual > docs/signalbox.1.new && mv docs/signalbox.1.new docs/signalbox.1

DOC := $(DESTDIR)$(PREFIX)/share/doc/signalbox
.PHONY: install uninstall
install: signalbox
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DOC)/keymaps"
	install -m 755 signalbox "$(DESTDIR)$(PREFIX)/bin/signalbox"
	install -m 644 docs/signalbox.1 "$(DESTDIR)$(PREFIX)/share/man/man1/signalbox.1"
	install -m 644 $(wildcard README.md) docs/keys.md docs/example.yaml "$(DOC)"
	install -m 644 keymaps/*.keymap "$(DOC)/keymaps"
uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/signalbox" "$(DESTDIR)$(PREFIX)/share/man/man1/signalbox.1"
	rm -rf "$(DOC)"

# What clang-tidy needs to know of a compilation; strings in quotes are given by tests/lint.
.PHONY: lint lint-flags
lint:
	@tools/packages build test lint
	@tests/lint
lint-flags:
	@echo "-std=c11 $(WARNINGS) -I. -D_GNU_SOURCE $(shell pkg-config --cflags $(PC) 2>/dev/null)"

.PHONY: clean
clean:
	rm -rf build signalbox compile_commands.json

-include $(OBJECTS:.o=.d) $(OUT)/main.d $(wildcard $(OUT)/tests/*/*.d)
