/* Names of what actions are made of. */
#include "core/action.h"

const char *hazard_name(enum hazard hazard)
{
    switch (hazard) {
    case HAZARD_LOOK:
        return "look";
    case HAZARD_MEASURE:
        return "measure";
    case HAZARD_CHANGE:
        return "change";
    case HAZARD_DESTROY:
        return "destroy";
    }
    return "?";
}
