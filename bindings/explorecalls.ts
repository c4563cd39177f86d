// The functions of the core that only the explorer calls.

type Call = (...args: number[]) => number;

/** Raw, as the others are. */
export interface ExploreCalls {
  exploreChoices: Call;
  exploreActor: Call;
  exploreStep: Call;
  exploreAccess: Call;
  exploreAct: Call;
  exploreActDone: Call;
  exploreTask: Call;
  exploreTaskDone: Call;
  exploreTaskSleeps: Call;
  exploreTaskToken: Call;
  exploreTokensExact: Call;
  exploreDummies: Call;
  exploreWorks: Call;
  exploreCallOf: Call;
  exploreCallFailed: Call;
  exploreMiscounted: Call;
  exploreHeld: Call;
  exploreReplaced: Call;
  exploreAccessDone: Call;
  exploreCall: Call;
  exploreCallDone: Call;
  exploreSleeps: Call;
  exploreActorOf: Call;
  exploreHash: Call;
  exploreSettle: Call;
  exploreTrylocks: Call;
  exploreWrongEntry: Call;
  exploreContent: Call;
  exploreLocks: Call;
}
